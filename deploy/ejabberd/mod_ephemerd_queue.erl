%%% ephemerd's companion module for ejabberd: offline queues, in Mnesia and in SQL. Their rows are only ever blanked.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

-module(mod_ephemerd_queue).
-export([is_known/1, is_there/1, find/2, has_marked/1, blank/4, rows/2, owners/1, distinct/3]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_offline.hrl").
-include("ejabberd_sql_pt.hrl").

%% The row that was just stored is among this many of the queue's newest rows.
-define(LOOKED_AT, 50).

-type owner() :: {binary(), binary()}.
-type row() :: {Id :: binary(), Usec :: integer(), Stanza :: xmlel()}.

%% Whether this host's offline messages are in a storage that we can change.
-spec is_known(binary()) -> boolean().
is_known(Host) ->
    is_there(Host) andalso
        case gen_mod:db_mod(Host, mod_offline) of
            mod_offline_mnesia -> true;
            mod_offline_sql -> ejabberd_option:sql_type(Host) /= mssql;
            _ -> false
        end.

%% Whether this host keeps offline messages at all.
-spec is_there(binary()) -> boolean().
is_there(Host) ->
    gen_mod:is_loaded(Host, mod_offline).

%% The newest row with this stanza. With `use_mam_for_storage` most stanzas have none.
-spec find(owner(), xmlel()) -> {ok, row()} | none | error.
find({_, Host} = Owner, El) ->
    Same = case gen_mod:db_mod(Host, mod_offline) of
               mod_offline_mnesia -> [Row || {_, _, Stored} = Row <- lists:keysort(2, rows_mnesia(Owner)), Stored == El];
               mod_offline_sql -> find_sql(Owner, essence(fxml_stream:parse_element(mod_ephemerd_xml:text(El))))
           end,
    case Same of
        error -> error;
        [] -> none;
        _ -> {ok, lists:last(Same)}
    end.

%% The part that storing does not change: SQL adds a delay to the stanza itself.
essence(#xmlel{attrs = Attrs, children = Children}) ->
    Kept = [Child || Child <- Children, not is_delay(Child)],
    Plain = lists:sort([Attr || {Name, _} = Attr <- Attrs, Name /= <<"xmlns">>]),
    mod_ephemerd_xml:text(#xmlel{name = <<"message">>, attrs = Plain, children = Kept}).

is_delay(#xmlel{name = <<"delay">>}) -> true;
is_delay(_) -> false.

-spec has_marked(owner()) -> boolean() | error.
has_marked({_, Host} = Owner) ->
    case rows(Host, Owner) of
        {ok, Rows} -> lists:any(fun({_, _, El}) -> mod_ephemerd_xml:standing(El, queue) == marked end, Rows);
        error -> error
    end.

%% Blanks one owner's rows; returns an outcome for each, in order.
-spec blank(binary(), owner(), binary(), [{binary(), integer()}]) -> [done | gone | other | failed].
blank(Host, Owner, Until, Items) ->
    case gen_mod:db_mod(Host, mod_offline) of
        mod_offline_mnesia -> blank_mnesia(Owner, Until, Items);
        mod_offline_sql -> [blank_sql(Host, Owner, Until, Item) || Item <- Items]
    end.

%% All readable rows, oldest first.
-spec rows(binary(), owner()) -> {ok, [row()]} | error.
rows(Host, Owner) ->
    case gen_mod:db_mod(Host, mod_offline) of
        mod_offline_mnesia -> {ok, lists:keysort(2, lists:keysort(1, rows_mnesia(Owner)))};
        mod_offline_sql -> rows_sql(Host, Owner)
    end.

%% Bare JIDs that have rows, in no particular order.
-spec owners(binary()) -> {ok, [binary()]} | error.
owners(Host) ->
    case gen_mod:db_mod(Host, mod_offline) of
        mod_offline_mnesia ->
            Keys = [{#offline_msg{us = {'$1', Host}, _ = '_'}, [], ['$1']}],
            {ok, distinct(offline_msg, Keys, Host)};
        mod_offline_sql ->
            case ejabberd_sql:sql_query(
                   Host, ?SQL("select distinct @(username)s from spool where %(Host)H")) of
                {selected, Names} -> {ok, [<<Name/binary, $@, Host/binary>> || {Name} <- Names]};
                _ -> error
            end
    end.

%%% Mnesia

rows_mnesia(Owner) ->
    [read(Row) || #offline_msg{packet = #xmlel{}} = Row <- mnesia:dirty_read(offline_msg, Owner)].

read(#offline_msg{timestamp = Now, packet = El} = Row) ->
    {id(Row), misc:now_to_usec(Now), El}.

%% The row's time, plus what distinguishes it from another with the same time; blanking changes neither.
id(#offline_msg{us = {User, Host}, timestamp = Now, packet = El}) ->
    Usec = integer_to_binary(misc:now_to_usec(Now)),
    Owner = <<User/binary, $@, Host/binary>>,
    Tells = {fxml:get_tag_attr_s(<<"from">>, El), fxml:get_tag_attr_s(<<"id">>, El),
             mod_ephemerd_xml:stanza_id(El, Owner)},
    <<Usec/binary, $-, (integer_to_binary(erlang:phash2(Tells, 1 bsl 32), 36))/binary>>.

%% mod_offline appends without a lock, but objects are added and removed one by one, so an append is never lost.
%% Handing out takes the same lock.
blank_mnesia(Owner, Until, Items) ->
    Run = fun() ->
                  Rows = [{id(Row), Row} || #offline_msg{packet = #xmlel{}} = Row <- mnesia:read(offline_msg, Owner, write)],
                  [blank_mnesia_rows(Until, Usec, [Row || {Is, Row} <- Rows, Is == Id]) || {Id, Usec} <- Items]
          end,
    case mnesia:transaction(Run) of
        {atomic, Outcomes} -> Outcomes;
        {aborted, _} ->
            ?ERROR_MSG("Mnesia could not change an offline queue", []),
            [failed || _ <- Items]
    end.

blank_mnesia_rows(_, _, []) -> gone;
blank_mnesia_rows(Until, Usec, Rows) ->
    Of = fun(#offline_msg{packet = El}) -> mod_ephemerd_xml:standing(El, queue) end,
    Marked = [Row || Row <- Rows, Of(Row) /= plain, misc:now_to_usec(Row#offline_msg.timestamp) == Usec],
    lists:foreach(
        fun(#offline_msg{packet = El} = Row) ->
            mnesia:delete_object(Row),
            mnesia:write(Row#offline_msg{packet = mod_ephemerd_xml:placeholder(El, Until, queue)})
        end, [Row || Row <- Marked, Of(Row) == marked]),
    case Marked of
        [] -> other;
        _ -> done
    end.

%% Read in pieces: the tables are on disk, and may be large. A piece has at least all rows of one user, whatever the limit.
-spec distinct(atom(), ets:match_spec(), binary()) -> [binary()].
distinct(Table, Keys, Host) ->
    Read = fun() -> distinct_next(mnesia:select(Table, Keys, 1000, read), #{}) end,
    [<<User/binary, $@, Host/binary>> || User <- maps:keys(mnesia:async_dirty(Read))].

distinct_next('$end_of_table', Seen) -> Seen;
distinct_next({Users, Next}, Seen) ->
    distinct_next(mnesia:select(Next), maps:merge(Seen, maps:from_keys(Users, []))).

%%% SQL, in both schemas

find_sql({User, Host} = Owner, Wanted) ->
    Count = ?LOOKED_AT,
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select @(seq)d, @(xml)s from spool where username=%(User)s and %(Host)H"
                " order by seq desc limit %(Count)d")) of
        {selected, Rows} ->
            Read = lists:filtermap(fun(Row) -> read_sql(Owner, Row) end, lists:reverse(Rows)),
            [Row || {_, _, El} = Row <- Read, essence(El) == Wanted];
        _ -> error
    end.

rows_sql(Host, {User, _} = Owner) ->
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select @(seq)d, @(xml)s from spool where username=%(User)s and %(Host)H order by seq")) of
        {selected, Rows} -> {ok, lists:filtermap(fun(Row) -> read_sql(Owner, Row) end, Rows)};
        _ -> error
    end.

read_sql({_, Host} = Owner, {Number, Xml}) ->
    case fxml_stream:parse_element(Xml) of
        #xmlel{} = El -> {true, {integer_to_binary(Number), stored_usec(Owner, Host, El), El}};
        _ -> false
    end.

%% The table's own time has no zone. An archive id is a time that no sender can forge; otherwise mod_offline wrote
%% the time into the stanza when storing it, unless the sender had put one there.
stored_usec({User, Host}, Host, El) ->
    Delayed = case mod_ephemerd_xml:delay_usec(El, Host) of
                  {ok, Usec} -> Usec;
                  error -> 0
              end,
    case mod_ephemerd_xml:stanza_id(El, <<User/binary, $@, Host/binary>>) of
        none -> Delayed;
        Id -> try binary_to_integer(Id) catch _:_ -> Delayed end
    end.

blank_sql(Host, {User, _} = Owner, Until, {Id, Usec}) ->
    Number = try binary_to_integer(Id) catch _:_ -> -1 end,
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select @(seq)d, @(xml)s from spool where username=%(User)s and %(Host)H and seq=%(Number)d")) of
        {selected, []} -> gone;
        {selected, [Row]} ->
            case read_sql(Owner, Row) of
                {true, {_, Usec, El}} -> blank_sql_row(Host, User, Number, Until, El);
                _ -> other
            end;
        _ -> failed
    end.

blank_sql_row(Host, User, Number, Until, El) ->
    case mod_ephemerd_xml:standing(El, queue) of
        plain -> other;
        placeholder -> done;
        marked ->
            Xml = mod_ephemerd_xml:text(mod_ephemerd_xml:placeholder(El, Until, queue)),
            case ejabberd_sql:sql_query(
                   Host,
                   ?SQL("update spool set xml=%(Xml)s where username=%(User)s and %(Host)H and seq=%(Number)d")) of
                {updated, 0} -> gone;
                {updated, _} -> done;
                _ -> failed
            end
    end.
