%%% ephemerd's companion module for ejabberd: archives of users and rooms, in Mnesia and in SQL.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% ejabberd's own removal by id (mod_mam:remove_message_from_archive/3, since 23.04) is not used: it removes every
%%% row with that time, marked or not. Here each row is read and changed in one transaction, or selected by its
%%% number.

-module(mod_ephemerd_archive).
-export([is_known/1, change/4, rows/4, owners/2]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_mam.hrl").
-include("ejabberd_sql_pt.hrl").

-type owner() :: {binary(), binary()}.
-type change() :: erase | {blank, Until :: binary()}.
-type item() :: {Id :: binary(), Usec :: integer()}.
-type outcome() :: done | gone | other | failed.

%% Whether this host's archives are in a storage that we can change.
-spec is_known(binary()) -> boolean().
is_known(Host) ->
    case gen_mod:db_mod(Host, mod_mam) of
        mod_mam_mnesia -> true;
        mod_mam_sql -> ejabberd_option:sql_type(Host) /= mssql;
        _ -> false
    end.

%% Erases or blanks one owner's rows; returns an outcome for each, in order.
-spec change(binary(), owner(), change(), [item()]) -> [outcome()].
change(Host, Owner, Change, Items) ->
    case gen_mod:db_mod(Host, mod_mam) of
        mod_mam_mnesia -> change_mnesia(Owner, Change, Items);
        mod_mam_sql -> [change_sql(Host, Owner, Change, Item) || Item <- Items]
    end.

%% About `Count` rows stamped at `From` or later, oldest first, and where to continue. Of rows with the same time,
%% which share an id, only one is returned: the first that still has marked text, or else the first placeholder.
-spec rows(binary(), owner(), integer(), pos_integer()) ->
          {ok, [{Id :: binary(), Usec :: integer(), xmlel() | unreadable}], From :: integer() | none} | error.
rows(Host, Owner, From, Count) ->
    Read = case gen_mod:db_mod(Host, mod_mam) of
               mod_mam_mnesia -> rows_mnesia(Owner, From, Count);
               mod_mam_sql -> rows_sql(Host, Owner, From, Count)
           end,
    case Read of
        error -> error;
        Rows when length(Rows) < Count -> {ok, one_a_time(Rows), none};
        Rows ->
            % There may be more rows with the last time.
            {_, Last, _} = lists:last(Rows),
            case [Row || {_, Usec, _} = Row <- Rows, Usec < Last] of
                [] -> {ok, one_a_time(Rows), Last + 1};
                Sure -> {ok, one_a_time(Sure), Last}
            end
    end.

one_a_time([{Id, _, El} = One, {Id, _, Also} = Other | Rows]) ->
    case rank(Also) > rank(El) of
        true -> one_a_time([Other | Rows]);
        false -> one_a_time([One | Rows])
    end;
one_a_time([Row | Rows]) -> [Row | one_a_time(Rows)];
one_a_time([]) -> [].

%% After a crash, a server may have both the text and its placeholder: the text counts.
rank(unreadable) -> 0;
rank(El) ->
    case standing(El) of
        marked -> 2;
        placeholder -> 1;
        plain -> 0
    end.

%% Bare JIDs at `Domain` that have rows, in no particular order.
-spec owners(binary(), binary()) -> {ok, [binary()]} | error.
owners(Host, Domain) ->
    case gen_mod:db_mod(Host, mod_mam) of
        mod_mam_mnesia -> owners_mnesia(Domain);
        mod_mam_sql -> owners_sql(Host, Domain)
    end.

%%% Mnesia

%% One transaction under the lock that mod_mam takes to append: nothing that arrives meanwhile is lost. One pass
%% finds the rows, and only they are read.
change_mnesia(Owner, Change, Items) ->
    IsAsked = list_to_tuple(['orelse', false | [{'==', '$1', Id} || {Id, _} <- Items]]),
    Asked = [{#archive_msg{us = Owner, id = '$1', _ = '_'}, [IsAsked], ['$_']}],
    Run = fun() ->
                  Rows = mnesia:select(archive_msg, Asked, write),
                  [change_mnesia_rows(Change, Usec, [Row || #archive_msg{id = Is} = Row <- Rows, Is == Id])
                   || {Id, Usec} <- Items]
          end,
    case mnesia:transaction(Run) of
        {atomic, Outcomes} -> Outcomes;
        {aborted, _} ->
            ?ERROR_MSG("Mnesia could not change an archive", []),
            [failed || _ <- Items]
    end.

change_mnesia_rows(_, _, []) -> gone;
change_mnesia_rows(Change, Usec, Rows) ->
    Standings = [{standing(Row#archive_msg.packet), Row}
                 || Row <- Rows, misc:now_to_usec(Row#archive_msg.timestamp) == Usec],
    case [{Standing, Row} || {Standing, Row} <- Standings, Standing /= plain] of
        [] -> other;
        Marked ->
            IsBeside = lists:keymember(placeholder, 1, Marked),
            lists:foreach(fun({Standing, Row}) -> change_mnesia_row(Change, Standing, IsBeside, Row) end, Marked),
            done
    end.

change_mnesia_row(erase, _, _, Row) -> mnesia:delete_object(Row);
change_mnesia_row({blank, _}, placeholder, _, _) -> ok;
change_mnesia_row({blank, _}, marked, true, Row) -> mnesia:delete_object(Row);
change_mnesia_row({blank, Until}, marked, false, #archive_msg{packet = El} = Row) ->
    mnesia:delete_object(Row),
    mnesia:write(Row#archive_msg{packet = mod_ephemerd_xml:placeholder(El, Until, archive)}).

rows_mnesia(Owner, From, Count) ->
    Asked = [{#archive_msg{us = Owner, timestamp = '$1', _ = '_'},
              [{'>=', '$1', {const, misc:usec_to_now(max(0, From))}}], ['$_']}],
    Rows = lists:keysort(#archive_msg.timestamp, mnesia:dirty_select(archive_msg, Asked)),
    [{Id, misc:now_to_usec(Now), El} || #archive_msg{id = Id, timestamp = Now, packet = El} <- lists:sublist(Rows, Count)].

owners_mnesia(Domain) ->
    Keys = [{#archive_msg{us = {'$1', Domain}, _ = '_'}, [], ['$1']}],
    {ok, mod_ephemerd_queue:distinct(archive_msg, Keys, Domain)}.

standing(#xmlel{} = El) -> mod_ephemerd_xml:standing(El, archive);
standing(_) -> plain.

%%% SQL, in both schemas

change_sql(Host, Owner, Change, {Id, Usec}) ->
    case archive_id(Id) of
        none -> gone;
        Time ->
            case rows_at(Host, Owner, Time) of
                error -> failed;
                [] -> gone;
                Rows when Time == Usec -> change_sql_rows(Host, Owner, Change, Time, Rows);
                _ -> other
            end
    end.

change_sql_rows(Host, Owner, Change, Time, Rows) ->
    Marked = [{Number, Standing, El}
              || {Number, El} <- Rows, Standing <- [standing(El)], Standing /= plain],
    Outcomes = [change_sql_row(Host, Owner, Change, Time, Row) || Row <- Marked],
    case {Marked, lists:member(failed, Outcomes), lists:member(done, Outcomes)} of
        {[], _, _} -> other;
        {_, true, _} -> failed;
        {_, false, true} -> done;
        {_, false, false} -> gone
    end.

change_sql_row(_, _, {blank, _}, _, {_, placeholder, _}) -> done;
change_sql_row(Host, Owner, {blank, Until}, Time, {Number, marked, El}) ->
    User = username(Owner, Host),
    Xml = mod_ephemerd_xml:text(mod_ephemerd_xml:placeholder(El, Until, archive)),
    outcome(ejabberd_sql:sql_query(
              Host,
              ?SQL("update archive set xml=%(Xml)s, txt='' where username=%(User)s and %(Host)H"
                   " and timestamp=%(Time)d and id=%(Number)d")));
change_sql_row(Host, Owner, erase, Time, {Number, _, _}) ->
    User = username(Owner, Host),
    outcome(ejabberd_sql:sql_query(
              Host,
              ?SQL("delete from archive where username=%(User)s and %(Host)H"
                   " and timestamp=%(Time)d and id=%(Number)d"))).

outcome({updated, 0}) -> gone;
outcome({updated, _}) -> done;
outcome(_) -> failed.

rows_at(Host, Owner, Time) ->
    User = username(Owner, Host),
    Kind = kind(Owner, Host),
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select @(id)d, @(peer)s, @(xml)s from archive where username=%(User)s and %(Host)H"
                " and timestamp=%(Time)d and kind=%(Kind)s")) of
        {selected, Rows} -> [{Number, read(Xml, Owner, Peer)} || {Number, Peer, Xml} <- Rows];
        _ -> error
    end.

rows_sql(Host, Owner, From, Count) ->
    User = username(Owner, Host),
    Kind = kind(Owner, Host),
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select @(timestamp)d, @(peer)s, @(xml)s from archive where username=%(User)s and %(Host)H"
                " and timestamp>=%(From)d and kind=%(Kind)s order by timestamp, id limit %(Count)d")) of
        {selected, Rows} ->
            [{integer_to_binary(Time), Time, read(Xml, Owner, Peer)} || {Time, Peer, Xml} <- Rows];
        _ -> error
    end.

owners_sql(Host, Domain) when Host == Domain ->
    owners_sql_of(Host, <<"chat">>, fun(User) -> {true, <<User/binary, $@, Domain/binary>>} end);
owners_sql(Host, Domain) ->
    IsOfDomain = fun(Room) ->
                         case binary:split(Room, <<"@">>) of
                             [_, Domain] -> {true, Room};
                             _ -> false
                         end
                 end,
    owners_sql_of(Host, <<"groupchat">>, IsOfDomain).

owners_sql_of(Host, Kind, Jid) ->
    case ejabberd_sql:sql_query(
           Host,
           ?SQL("select distinct @(username)s from archive where %(Host)H and kind=%(Kind)s")) of
        {selected, Names} -> {ok, lists:filtermap(fun({Name}) -> Jid(Name) end, Names)};
        _ -> error
    end.

%% `archive` names users by their local part and rooms by their full JID.
username({User, Host}, Host) -> User;
username({Room, Domain}, _) -> jid:encode({Room, Domain, <<>>}).

kind({_, Host}, Host) -> <<"chat">>;
kind(_, _) -> <<"groupchat">>.

%% Also reads what `compress_xml` wrote, with this very server's own code.
read(Xml, {User, Domain}, Peer) ->
    try xml_compress:decode(Xml, jid:encode({User, Domain, <<>>}), Peer) of
        #xmlel{} = El -> El;
        _ -> unreadable
    catch _:_ -> unreadable
    end.

archive_id(Id) ->
    try binary_to_integer(Id) of
        Time when Time >= 0, Time < 1 bsl 63 -> Time;
        _ -> none
    catch _:_ -> none
    end.
