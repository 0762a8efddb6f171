%%% ephemerd's companion module for ejabberd: it announces what shows that users have read something: their displayed
%%% markers, replies and reactions, and the positions that they publish (XEP-0490).
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% Only ids and addresses, only the kinds that the daemon asks for, and a bounded number of them, which are remembered
%%% for as long as the daemon may have missed them. What users send passes here before it is looked at by anything else,
%%% so it counts also where the server keeps no copy. What occupants send passes where the room hands it out, so only what
%%% the room accepts counts there.

-module(mod_ephemerd_reads).
-behaviour(gen_server).

-export([start_link/1, hooks/0, want/4, owners/2, tell_again/3]).
-export([sent/1, archived/7, archived/8, sent_in_room/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("xmpp.hrl").
-include("mod_muc_room.hrl").

%% Maximum items remembered in total and per user, and items in one notice.
-define(MAX_KNOWN, 5000).
-define(MAX_OF_USER, 100).
-define(MAX_ITEMS, 100).
%% Longer references do not count, chat and id together in bytes, and longer ids of what is archived are not remembered.
-define(MAX_BYTES, 256).
%% What came within this time is announced together.
-define(GATHER_MS, 20).
-define(REMEMBERED_MS, 86400000).
-define(FORGET_EVERY_MS, 3600000).

-record(known, {number :: integer(), at :: integer(), what :: fxml:xmlel() | tuple()}).
%% What is remembered of owners, users and rooms, newest first, and how much it is.
-record(memory, {users = #{}, count = 0, next = 0}).
%% `mod_muc_room` has the record `state`.
-record(reads, {host :: binary(), waiting = #{}, told = #memory{}, archived = #memory{}}).

start_link(Host) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, [Host], []).

name(Host) ->
    gen_mod:get_module_proc(Host, ?MODULE).

hooks() ->
    [{user_send_packet, sent, 5},
     {store_mam_message, archived, 103},
     {muc_filter_message, sent_in_room, 61}].

%% What the daemon asks for on this host of users or rooms: its names of the kinds, with spaces between, in users' own
%% archives and in rooms.
want(Host, Domain, Names, InRooms) ->
    Split = fun(Text) -> binary:split(Text, <<" ">>, [global, trim_all]) end,
    gen_server:call(name(Host), {want, Domain, Split(Names), Split(InRooms)}).

%% The users or rooms of this host of which something is remembered.
owners(Host, Domain) ->
    gen_server:call(name(Host), {owners, Domain}).

%% Announces again what is remembered of a user or a room.
tell_again(Host, Domain, User) ->
    gen_server:call(name(Host), {tell_again, {User, Domain}}).

%%% The hook: in the sessions' own processes

sent({Packet, #{jid := #jid{luser = User, lserver = Host}}} = Acc) ->
    mod_ephemerd:safely(
        fun() ->
            case wanted(Host, Host) of
                {[], []} -> ok;
                {Wanted, InRooms} ->
                    Owner = jid:encode({User, Host, <<>>}),
                    Shown = [Read || {By, _, _} = Read <- shown(Packet, Owner), lists:member(By, Wanted), is_sound(Read, Owner)],
                    Of = [Read || lists:member(<<"mds">>, InRooms), Read <- shown_of_rooms(Packet, Owner), is_sound(Read, Owner)],
                    read(Host, {User, Host}, Shown ++ [{Read, []} || Read <- Of])
            end
        end, ok),
    Acc;
sent(Acc) ->
    Acc.

archived(Acc, User, Host, Peer, Nick, Type, Dir, _StoredInMucMam) ->
    archived(Acc, User, Host, Peer, Nick, Type, Dir).

%% Marked or not: the daemon knows only marked ones, and others may be named. Whoever sent it chose its id.
archived(#message{id = Id, meta = #{stanza_id := Usec}} = Message, User, Host, Peer, _Nick, chat, _Dir)
  when is_integer(Usec) ->
    mod_ephemerd:safely(
        fun() ->
            case wanted(Host, Host) of
                {[], _} -> ok;
                _ -> remember_archived(Host, {User, Host}, chat(Message, Peer), Id, Usec)
            end
        end, ok),
    Message;
%% In a room a message is named by its id in the archive.
archived(#message{meta = #{stanza_id := Usec}} = Message, Room, Domain, _Peer, _Nick, groupchat, _Dir)
  when is_integer(Usec) ->
    mod_ephemerd:safely(
        fun() ->
            Host = ejabberd_router:host_of_route(Domain),
            case wanted(Host, Domain) of
                {_, []} -> ok;
                _ -> remember_archived(Host, {Room, Domain}, jid:encode({Room, Domain, <<>>}), integer_to_binary(Usec), Usec)
            end
        end, ok),
    Message;
archived(Acc, _, _, _, _, _, _) ->
    Acc.

remember_archived(Host, Owner, Chat, Id, Usec) ->
    byte_size(Chat) + byte_size(Id) + byte_size(integer_to_binary(Usec)) =< ?MAX_BYTES
        andalso gen_server:cast(name(Host), {archived, Owner, {Chat, Id, Usec}}).

%% Runs in the room's process, after whatever may drop the message. Nickname and address are the room's word.
sent_in_room(#message{type = groupchat, from = From} = Message, #state{jid = Jid, server_host = Host} = State, Nick) ->
    mod_ephemerd:safely(
        fun() ->
            #jid{luser = Room, lserver = Domain} = Jid,
            case wanted(Host, Domain) of
                {_, []} -> ok;
                {_, InRooms} ->
                    Chat = jid:encode(jid:remove_resource(Jid)),
                    Shown = [{By, Chat, Id} || {By, Id} <- shows(Message, none), By /= <<"mds">>, lists:member(By, InRooms)],
                    Reader = [{<<"occupant">>, jid:encode(jid:replace_resource(Jid, Nick))}
                              | [{<<"jid">>, Real} || Real <- real(From, Jid, Nick, State)]],
                    Fits = lists:sum([byte_size(Value) || {_, Value} <- Reader]) =< 2 * ?MAX_BYTES,
                    read(Host, {Room, Domain}, [{Read, Reader} || Fits, Read <- Shown, is_sound(Read, none)])
            end
        end, ok),
    Message;
sent_in_room(Acc, _, _) ->
    Acc.

%% The sender's real bare address.
real(#jid{luser = Room, lserver = Domain}, #jid{luser = Room, lserver = Domain}, Nick, #state{nicks = Nicks}) ->
    case maps:find(Nick, Nicks) of
        {ok, [Full | _]} -> [jid:encode(jid:remove_resource(Full))];
        _ -> []
    end;
real(#jid{} = From, _, _, _) -> [jid:encode(jid:tolower(jid:remove_resource(From)))].

read(_, _, []) -> ok;
read(Host, Owner, Reads) ->
    gen_server:cast(name(Host), {read, Owner, Reads, erlang:system_time(microsecond)}).

%% What is asked for on this host: of users' own archives, and of rooms.
wanted(Host, Domain) ->
    try ets:lookup_element(name(Host), {wanted, Domain}, 2)
    catch error:badarg -> {[], []}
    end.

shown(#message{type = Type, to = #jid{} = To} = Message, Owner) when Type == chat; Type == normal ->
    [{By, chat(Message, To), Id} || {By, Id} <- shows(Message, Owner)];
%% Whether or not the server accepts the item: only its owner could send it.
shown(#iq{} = IQ, Owner) ->
    [{<<"mds">>, Chat, Id} || {Chat, By, Id} <- published(IQ, Owner), By == Owner];
shown(_, _) -> [].

%% Of a room a position names the room's archive.
shown_of_rooms(#iq{} = IQ, Owner) ->
    [{<<"mds">>, Chat, Id} || {Chat, By, Id} <- published(IQ, Owner), By == Chat];
shown_of_rooms(_, _) -> [].

published(#iq{type = set, sub_els = [Payload], to = To} = IQ, Owner) ->
    IsOwn = To == undefined orelse jid:encode(jid:tolower(jid:remove_resource(To))) == Owner,
    case IsOwn andalso mod_ephemerd_xml:is_pubsub(Payload) of
        true -> mod_ephemerd_xml:published(xmpp:encode(IQ));
        false -> []
    end;
published(_, _) -> [].

shows(Message, Owner) ->
    case mod_ephemerd_xml:may_show_reading(Message) of
        true -> mod_ephemerd_xml:shows(xmpp:encode(Message), Owner);
        false -> []
    end.

%% What one occupant of a room writes to another is a chat of its own.
chat(Message, Peer) ->
    case mod_ephemerd_xml:is_of_room(Message) of
        true -> jid:encode(Peer);
        false -> jid:encode(jid:remove_resource(Peer))
    end.

is_sound({_, Chat, Id}, Owner) ->
    Chat /= <<>> andalso Id /= <<>> andalso Chat /= Owner andalso byte_size(Chat) + byte_size(Id) =< ?MAX_BYTES
        andalso re:run([Chat, Id], "[\\x00-\\x1f\\x7f]") == nomatch.

%% With what is known of who read it in a room, whose archive the id is of.
item({Read, Reader}, Usec, Archived) ->
    #xmlel{attrs = Attrs} = Item = item(Read, Usec, Archived),
    Item#xmlel{attrs = Attrs ++ [{<<"in">>, <<"room">>} | Reader]};
item({By, Chat, Id} = Read, Usec, Archived) ->
    Upto = [{<<"upto">>, mod_ephemerd_xml:stamp(At)} || At <- upto(Read, Archived)],
    Attrs = [{<<"by">>, By}, {<<"chat">>, Chat}, {<<"id">>, Id}, {<<"stamp">>, mod_ephemerd_xml:stamp(Usec)} | Upto],
    #xmlel{name = <<"item">>, attrs = Attrs}.

%% When the message that is read up to was archived, as far as is known.
upto({<<"marker">>, Chat, Id}, Archived) ->
    lists:sublist([Usec || #known{what = {In, Own, Usec}} <- Archived, Own == Id, In == Chat], 1);
upto({<<"mds">>, Chat, Id}, Archived) ->
    lists:sublist([Usec || #known{what = {In, _, Usec}} <- Archived, integer_to_binary(Usec) == Id, In == Chat], 1);
upto(_, _) -> [].

%%% The process

init([Host]) ->
    ets:new(name(Host), [named_table, protected, {read_concurrency, true}]),
    erlang:send_after(?FORGET_EVERY_MS, self(), forget),
    {ok, #reads{host = Host}}.

handle_call({want, Domain, Names, InRooms}, _From, #reads{host = Host} = State) ->
    Wanted = {lists:flatmap(fun by/1, Names), lists:flatmap(fun by/1, InRooms)},
    ets:insert(name(Host), {{wanted, Domain}, Wanted}),
    case Wanted of
        {[], []} ->
            #reads{waiting = Waiting, told = Told, archived = Archived} = State,
            {reply, ok, State#reads{waiting = maps:filter(fun({_, Is}, _) -> Is /= Domain end, Waiting),
                                    told = forget_of(Domain, Told), archived = forget_of(Domain, Archived)}};
        _ -> {reply, ok, State}
    end;
handle_call({owners, Domain}, _From, #reads{told = #memory{users = Users}} = State) ->
    {reply, [User || {User, Is} <- maps:keys(Users), Is == Domain], State};
handle_call({tell_again, Owner}, _From, #reads{told = Told} = State) ->
    tell(State, Owner, [Item || #known{what = Item} <- lists:reverse(of_user(Owner, Told))]),
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

by(<<"markers">>) -> [<<"marker">>];
by(<<"replies">>) -> [<<"reply">>];
by(<<"mds">>) -> [<<"mds">>];
by(_) -> [].

handle_cast({read, User, Reads, Usec}, #reads{waiting = Waiting, told = Told, archived = Archived} = State) ->
    [erlang:send_after(?GATHER_MS, self(), flush) || map_size(Waiting) == 0],
    Items = [item(Read, Usec, of_user(User, Archived)) || Read <- Reads],
    Remembered = lists:foldl(fun(Item, Memory) -> remember(User, Item, Memory) end, Told, Items),
    Of = lists:reverse(Items, maps:get(User, Waiting, [])),
    {noreply, State#reads{waiting = Waiting#{User => Of}, told = make_room(Remembered)}};
handle_cast({archived, User, What}, #reads{archived = Archived} = State) ->
    {noreply, State#reads{archived = make_room(remember(User, What, Archived))}};
handle_cast(_, State) ->
    {noreply, State}.

%% Without the component nothing is sent: it asks for what is remembered when it is back.
handle_info(flush, #reads{host = Host, waiting = Waiting} = State) ->
    mod_ephemerd:safely(
        fun() ->
            case ejabberd_router:is_my_route(mod_ephemerd:component(Host)) of
                true -> [tell(State, User, lists:reverse(Items)) || {User, Items} <- maps:to_list(Waiting)];
                false -> ok
            end
        end, ok),
    {noreply, State#reads{waiting = #{}}};
handle_info(forget, #reads{told = Told, archived = Archived} = State) ->
    erlang:send_after(?FORGET_EVERY_MS, self(), forget),
    Since = now_ms() - ?REMEMBERED_MS,
    {noreply, State#reads{told = forget(Since, Told), archived = forget(Since, Archived)}};
handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, _State) ->
    ok.

code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

tell(_, _, []) -> ok;
tell(#reads{host = Host} = State, {_, Domain} = Owner, Items) ->
    {Now, Later} = lists:split(min(?MAX_ITEMS, length(Items)), Items),
    mod_ephemerd:hand_over(Host, Domain, Owner, <<"read">>, [], Now),
    tell(State, Owner, Later).

of_user(User, #memory{users = Users}) ->
    maps:get(User, Users, []).

remember(User, What, #memory{users = Users, count = Count, next = Next} = Memory) ->
    Had = of_user(User, Memory),
    Has = lists:sublist([#known{number = Next, at = now_ms(), what = What} | Had], ?MAX_OF_USER),
    Memory#memory{users = Users#{User => Has}, count = Count + length(Has) - length(Had), next = Next + 1}.

now_ms() -> erlang:monotonic_time(millisecond).

%% If it is too much, a tenth is forgotten: all of those users of whom nothing new has come for longest.
make_room(#memory{count = Count} = Memory) when Count =< ?MAX_KNOWN -> Memory;
make_room(#memory{users = Users} = Memory) ->
    drop(lists:sort([{Number, User} || {User, [#known{number = Number} | _]} <- maps:to_list(Users)]), Memory).

drop([{_, User} | Rest], #memory{users = Users, count = Count} = Memory) when Count > ?MAX_KNOWN * 9 div 10 ->
    drop(Rest, Memory#memory{users = maps:remove(User, Users), count = Count - length(of_user(User, Memory))});
drop(_, Memory) -> Memory.

forget_of(Domain, #memory{users = Users} = Memory) ->
    kept(maps:filter(fun({_, Is}, _) -> Is /= Domain end, Users), Memory).

forget(Since, #memory{users = Users} = Memory) ->
    Young = maps:map(fun(_, Of) -> [Known || #known{at = At} = Known <- Of, At >= Since] end, Users),
    kept(maps:filter(fun(_, Of) -> Of /= [] end, Young), Memory).

kept(Users, Memory) ->
    Memory#memory{users = Users, count = maps:fold(fun(_, Of, Sum) -> Sum + length(Of) end, 0, Users)}.
