%%% ephemerd's companion module for ejabberd: one page of an owner's marked rows (docs/protocol.md).
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

-module(mod_ephemerd_page).

-export([read/5, row_attrs/4]).

-include("xmpp.hrl").

-define(MAX_LOOKED_AT, 2000).
-define(ROWS_AT_ONCE, 200).

-record(page, {rows = [], count = 0, bytes = 0, looked_at = 0, last = none, full = false}).

%% The marked rows stamped from Since on (microseconds) that come after this id: as many as Max and MaxBytes allow. With
%% the id of the last row examined, and whether it was the owner's last.
-spec read(binary(), binary(), {binary(), binary()}, {integer(), binary()}, {integer(), integer()}) ->
          {[xmlel()], binary() | none, boolean()} | error.
read(Host, Store, Owner, {Since, After}, {Max, MaxBytes}) ->
    Take = fun(Row, Page) -> take(Row, Page, Store, Owner, Max, MaxBytes) end,
    Read = case Store of
               <<"queue">> -> read_queue(Host, Owner, Since, After, Take);
               _ -> read_archive(Host, Owner, max(Since, after_usec(After) + 1), Take, #page{})
           end,
    case Read of
        error -> error;
        #page{rows = Rows, last = Last, full = IsFull} -> {lists:reverse(Rows), Last, not IsFull}
    end.

%% A row's optional attributes.
row_attrs(Store, {User, Domain}, El, IsReduced) ->
    CopyOf = case Store of
                 <<"queue">> -> mod_ephemerd_xml:stanza_id(El, jid:encode({User, Domain, <<>>}));
                 _ -> none
             end,
    [{<<"copy-of">>, CopyOf} || CopyOf /= none] ++ [{<<"reduced">>, <<"true">>} || IsReduced].

after_usec(<<>>) -> -1;
after_usec(Id) -> try binary_to_integer(Id) catch _:_ -> -1 end.

read_archive(Host, Owner, From, Take, Page) ->
    case mod_ephemerd_archive:rows(Host, Owner, From, rows_at_once(Host)) of
        error -> error;
        {ok, Rows, Next} ->
            case lists:foldl(Take, Page, Rows) of
                #page{full = false} = More when Next /= none -> read_archive(Host, Owner, Next, Take, More);
                Last -> Last
            end
    end.

%% In Mnesia each read reads the owner's whole archive.
rows_at_once(Host) ->
    case gen_mod:db_mod(Host, mod_mam) of
        mod_mam_mnesia -> ?MAX_LOOKED_AT + 2;
        _ -> ?ROWS_AT_ONCE
    end.

read_queue(Host, Owner, Since, After, Take) ->
    case mod_ephemerd_queue:rows(Host, Owner) of
        error -> error;
        {ok, Rows} ->
            Rest = case lists:splitwith(fun({Id, _, _}) -> Id /= After end, Rows) of
                       {_, [_ | Later]} -> Later;
                       {All, []} -> All
                   end,
            lists:foldl(Take, #page{}, [Row || {_, Usec, _} = Row <- Rest, Usec >= Since])
    end.

%% Adds a row to the page, unless the page is full.
take(_, #page{full = true} = Page, _, _, _, _) -> Page;
take(_, #page{looked_at = ?MAX_LOOKED_AT} = Page, _, _, _, _) -> Page#page{full = true};
take({Id, _, unreadable}, #page{looked_at = LookedAt} = Page, _, _, _, _) ->
    Page#page{looked_at = LookedAt + 1, last = Id};
take({Id, Usec, El}, #page{looked_at = LookedAt} = Page, Store, Owner, Max, MaxBytes) ->
    case mod_ephemerd_xml:is_marked(El) of
        false -> Page#page{looked_at = LookedAt + 1, last = Id};
        true -> take_marked({Id, Usec, El}, Page, Store, Owner, Max, MaxBytes)
    end.

take_marked({Id, Usec, El}, #page{rows = Rows, count = Count, bytes = Bytes} = Page, Store, Owner, Max, MaxBytes) ->
    {Shown, IsReduced} = mod_ephemerd_xml:reduce(El),
    Size = byte_size(mod_ephemerd_xml:text(Shown)),
    case Count == Max orelse (Count > 0 andalso Bytes + Size > MaxBytes) of
        true -> Page#page{full = true};
        false ->
            Attrs = [{<<"id">>, Id}, {<<"stamp">>, mod_ephemerd_xml:stamp(Usec)} | row_attrs(Store, Owner, El, IsReduced)],
            Row = #xmlel{name = <<"row">>, attrs = Attrs, children = [Shown]},
            Page#page{rows = [Row | Rows], count = Count + 1, bytes = Bytes + Size,
                      looked_at = Page#page.looked_at + 1, last = Id}
    end.
