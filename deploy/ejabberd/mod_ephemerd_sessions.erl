%%% ephemerd's companion module for ejabberd: which marked messages only sessions waiting to be resumed (XEP-0198) were
%%% given, or nobody at all.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

%%% Somebody who was sent a message over a live connection counts as having received it, until that session
%%% hibernates or ends without having acknowledged it. Sessions only report what they see; one process per virtual
%%% host on each node of a cluster draws the conclusions, and the node that archived the message sends the notice.

-module(mod_ephemerd_sessions).
-behaviour(gen_server).

-export([start_link/1, hooks/0, understood/2, owners/1, tell_again/2]).
-export([archived/7, archived/8, queued/1, sent/3, pending/1, resumed/1, terminated/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include("xmpp.hrl").

%% Maximum messages known in total and per user, and ids in one notice.
-define(MAX_KNOWN, 10000).
-define(MAX_OF_USER, 500).
-define(MAX_IDS, 500).
%% Of one message so many sessions that have it are remembered, and as many that wait to be resumed with it.
-define(MAX_SESSIONS, 16).
%% A message that nobody has received after this time was sent to nobody.
-define(SETTLE_MS, 300).

-record(known, {number :: integer(), node :: node(), held_by = [] :: [binary()], waits_in = [] :: [binary()],
                queued = false :: boolean(), told = none :: none | undelivered | delivered}).
%% `order` has the user and the id of each number, and nothing of what has been forgotten.
-record(state, {host :: binary(), understood = false :: boolean(), count = 0, next = 0, users = #{},
                order = gb_trees:empty()}).

start_link(Host) ->
    gen_server:start_link({local, name(Host)}, ?MODULE, [Host], []).

name(Host) ->
    gen_mod:get_module_proc(Host, ?MODULE).

hooks() ->
    [{store_mam_message, archived, 102},
     {offline_message_hook, queued, 52},
     {c2s_handle_send, sent, 51},        % mod_stream_mgmt keeps what it may have to send again at 50
     {c2s_session_pending, pending, 50},
     {c2s_session_resumed, resumed, 50},
     {c2s_terminated, terminated, 49}].  % mod_stream_mgmt gives up at 50

%% Whether the daemon understands notices about sessions. Returns what it may want to know of this server.
understood(Host, Is) ->
    say(Host, {understood, Is}),
    [{<<"resend-on-timeout">>, atom_to_binary(gen_mod:get_module_opt(Host, mod_stream_mgmt, resend_on_timeout), utf8)}
     || gen_mod:is_loaded(Host, mod_stream_mgmt)].

%% Whom something is known of.
owners(Host) ->
    gen_server:call(name(Host), owners).

%% Announces again what is known of a user.
tell_again(Host, User) ->
    gen_server:call(name(Host), {tell_again, User}).

say(Host, What) ->
    gen_server:abcast(ejabberd_cluster:get_nodes(), name(Host), What).

%%% Hooks: in the processes of sessions and of those who send

archived(Acc, User, Host, Peer, Nick, Type, Dir, _StoredInMucMam) ->
    archived(Acc, User, Host, Peer, Nick, Type, Dir).

archived(#message{} = Message, User, Host, _Peer, _Nick, chat, recv) ->
    mod_ephemerd:safely(
        fun() ->
            Usec = xmpp:get_meta(Message, stanza_id, none),
            is_integer(Usec) andalso mod_ephemerd_xml:marked(Message) /= none
                andalso say(Host, {archived, User, integer_to_binary(Usec), node()})
        end, ok),
    Message;
archived(Acc, _, _, _, _, _, _) ->
    Acc.

queued({offlined, #message{to = #jid{luser = User, lserver = Host}} = Message} = Acc) ->
    mod_ephemerd:safely(
        fun() ->
            case brought(Message, User, Host) of
                {ok, Id} -> say(Host, {queued, User, Id, node()});
                _ -> ok
            end
        end, ok),
    Acc;
queued(Acc) ->
    Acc.

sent(#{jid := #jid{luser = User, lserver = Host, lresource = Resource}} = State, #message{} = Message, Result) ->
    mod_ephemerd:safely(
        fun() ->
            IsPending = maps:get(mgmt_state, State, none) == pending,
            case brought(Message, User, Host) of
                {ok, Id} when IsPending -> say(Host, {waits, User, Resource, Id, node()});
                {ok, Id} when Result == ok -> say(Host, {held, User, Resource, Id, node()});
                {result, Id} when Result == ok, not IsPending ->
                    ets:member(name(Host), {User, Id}) andalso say(Host, {held, User, Resource, Id, node()});
                _ -> ok
            end
        end, ok),
    State;
sent(State, _, _) ->
    State.

pending(State) ->
    lost(State),
    State.

resumed(#{jid := #jid{luser = User, lserver = Host, lresource = Resource}} = State) ->
    mod_ephemerd:safely(fun() -> say(Host, {resumed, User, Resource}) end, ok),
    State.

terminated(#{mgmt_state := Mgmt} = State, _Reason) when Mgmt == active; Mgmt == pending; Mgmt == timeout ->
    lost(State),
    State;
terminated(State, _Reason) ->
    State.

%% The session has not received what it has not acknowledged.
lost(#{jid := #jid{luser = User, lserver = Host, lresource = Resource}, mgmt_queue := Queue}) ->
    mod_ephemerd:safely(
        fun() ->
            Brought = [brought(Message, User, Host) || {_, _, #message{} = Message} <- p1_queue:to_list(Queue)],
            case [Id || {What, Id} <- Brought, What == ok orelse ets:member(name(Host), {User, Id})] of
                [] -> ok;
                Ids -> say(Host, {lost, User, Resource, Ids, node()})
            end
        end, ok);
lost(_) ->
    ok.

%% The archived message that a stanza delivers to its owner: itself, as a carbon, or from the archive. Only ids
%% recorded by this server count; anybody may write a <stanza-id/>.
brought(#message{sub_els = [#mam_result{id = Id} | _]}, _, _) when is_binary(Id) -> {result, Id};
brought(#message{meta = #{carbon_copy := true}, sub_els = Els}, User, Host) ->
    case Els of
        [#carbons_received{forwarded = #forwarded{sub_els = [#message{} = Message]}}] -> brought(Message, User, Host);
        _ -> none
    end;
brought(#message{type = Type, meta = Meta} = Message, User, Host) when Type == chat; Type == normal ->
    case {Meta, mod_ephemerd_xml:marked(Message)} of
        {_, none} -> none;
        {#{mam_archived := true, stanza_id := Usec}, _} when is_integer(Usec) -> {ok, integer_to_binary(Usec)};
        {#{from_offline := true}, El} ->
            case mod_ephemerd_xml:stanza_id(El, jid:encode({User, Host, <<>>})) of
                none -> none;
                Id -> {ok, Id}
            end;
        _ -> none
    end;
brought(_, _, _) -> none.

%%% The process

%% The table has what is known, also after somebody got it from the archive: that may be lost with the connection.
init([Host]) ->
    ets:new(name(Host), [named_table, protected, {read_concurrency, true}]),
    {ok, #state{host = Host}}.

handle_call(owners, _From, #state{users = Users} = State) ->
    {reply, maps:keys(Users), State};
handle_call({tell_again, User}, _From, #state{users = Users} = State) ->
    Known = maps:to_list(maps:get(User, Users, #{})),
    [tell(State, User, Told, [Id || {Id, #known{told = T}} <- Known, T == Told]) || Told <- [undelivered, delivered]],
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {reply, ok, State}.

handle_cast(What, State) ->
    {noreply, mod_ephemerd:safely(fun() -> note(What, State) end, State)}.

handle_info({settle, User, Id}, State) ->
    {noreply, mod_ephemerd:safely(fun() -> forget_if_alone(User, Id, settle(User, [Id], State)) end, State)};
handle_info(_, State) ->
    {noreply, State}.

terminate(_Reason, _State) ->
    ok.

code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

note({understood, Is}, State) -> State#state{understood = Is};
note({archived, User, Id, Node}, State) -> learn(User, Id, Node, State);
note({queued, User, Id, Node}, State) ->
    change(User, Id, fun(Known) -> Known#known{queued = true} end, learn(User, Id, Node, State));
note({waits, User, Resource, Id, Node}, State) ->
    change(User, Id, fun(Known) -> waits(Resource, Known) end, learn(User, Id, Node, State));
note({held, User, Resource, Id, Node}, State) -> hold(User, Resource, [Id], learn(User, Id, Node, State));
note({lost, User, Resource, Ids, Node}, State) ->
    Lose = fun(Id, Acc) -> change(User, Id, fun(Known) -> lose(Resource, Known) end, learn(User, Id, Node, Acc)) end,
    settle(User, Ids, lists:foldl(Lose, State, Ids));
note({resumed, User, Resource}, #state{users = Users} = State) ->
    Waiting = [Id || {Id, #known{waits_in = In}} <- maps:to_list(maps:get(User, Users, #{})), lists:member(Resource, In)],
    hold(User, Resource, Waiting, State);
note(_, State) -> State.

%% Those that began to wait last are the likeliest to be resumed.
waits(Resource, #known{waits_in = In} = Known) ->
    Known#known{waits_in = lists:sublist([Resource | lists:delete(Resource, In)], ?MAX_SESSIONS)}.

lose(Resource, #known{held_by = By} = Known) ->
    waits(Resource, Known#known{held_by = lists:delete(Resource, By)}).

%% A session has received these. One that is not remembered may have a message that counts as undelivered: it waits longer.
hold(User, Resource, Ids, State) ->
    Hold = fun(#known{held_by = By, waits_in = In, told = Told} = Known) ->
                   Known#known{held_by = lists:sublist(lists:delete(Resource, By) ++ [Resource], ?MAX_SESSIONS),
                               waits_in = lists:delete(Resource, In), queued = false,
                               told = case Told of undelivered -> delivered; _ -> Told end}
           end,
    conclude(User, Ids, delivered, Hold, State).

%% Perhaps nobody has received these.
settle(User, Ids, State) ->
    Settle = fun(#known{held_by = [], queued = false} = Known) -> Known#known{told = undelivered};
                (Known) -> Known
             end,
    conclude(User, Ids, undelivered, Settle, State).

%% Updates what is known, and announces what is new.
conclude(User, Ids, Told, Change, State) ->
    Is = fun(Id, At) ->
                 case find(User, Id, At) of
                     {ok, #known{told = Told, node = Node}} -> {true, Node};
                     {ok, #known{node = Node}} -> {false, Node};
                     error -> none
                 end
         end,
    New = lists:foldl(fun(Id, Acc) -> change(User, Id, Change, Acc) end, State, Ids),
    News = [{Id, Node} || Id <- Ids, {false, Node} <- [Is(Id, State)], {true, _} <- [Is(Id, New)]],
    Nodes = ejabberd_cluster:get_nodes(),
    tell(New, User, Told, [Id || {Id, Node} <- News, Node == node() orelse not lists:member(Node, Nodes)]),
    New.

tell(#state{understood = false}, _, _, _) -> ok;
tell(_, _, _, []) -> ok;
tell(#state{host = Host} = State, User, Told, Ids) ->
    {Now, Later} = lists:split(min(?MAX_IDS, length(Ids)), Ids),
    Items = [#xmlel{name = <<"item">>, attrs = [{<<"id">>, Id}]} || Id <- Now],
    mod_ephemerd:hand_over(Host, Host, {User, Host}, atom_to_binary(Told, utf8), [], Items),
    tell(State, User, Told, Later).

%%% What is known: by user and id, and in the order in which it came

find(User, Id, #state{users = Users}) ->
    maps:find(Id, maps:get(User, Users, #{})).

change(User, Id, Change, #state{users = Users} = State) ->
    case find(User, Id, State) of
        {ok, Known} -> State#state{users = Users#{User => (maps:get(User, Users))#{Id => Change(Known)}}};
        error -> State
    end.

%% The oldest messages are dropped to make room.
learn(User, Id, Node, #state{host = Host, users = Users, next = Next, count = Count, order = Order} = State) ->
    case find(User, Id, State) of
        {ok, _} -> State;
        error ->
            erlang:send_after(?SETTLE_MS, self(), {settle, User, Id}),
            ets:insert(name(Host), {{User, Id}}),
            Of = maps:get(User, Users, #{}),
            Known = #known{number = Next, node = Node},
            bound(User, State#state{users = Users#{User => Of#{Id => Known}}, next = Next + 1, count = Count + 1,
                                    order = gb_trees:insert(Next, {User, Id}, Order)})
    end.

bound(User, #state{users = Users, count = Count, order = Order} = State) ->
    Of = maps:get(User, Users),
    if
        map_size(Of) > ?MAX_OF_USER ->
            {_, Oldest} = lists:min([{Number, Id} || {Id, #known{number = Number}} <- maps:to_list(Of)]),
            forget(User, Oldest, State);
        Count > ?MAX_KNOWN ->
            {_, {Other, Oldest}} = gb_trees:smallest(Order),
            forget(Other, Oldest, State);
        true -> State
    end.

forget(User, Id, #state{host = Host, users = Users, count = Count, order = Order} = State) ->
    ets:delete(name(Host), {User, Id}),
    {#known{number = Number}, Left} = maps:take(Id, maps:get(User, Users)),
    Kept = case map_size(Left) of
               0 -> maps:remove(User, Users);
               _ -> Users#{User => Left}
           end,
    State#state{users = Kept, count = Count - 1, order = gb_trees:delete(Number, Order)}.

%% If nobody else has received it, the session's own queue settles the matter.
forget_if_alone(User, Id, #state{host = Host} = State) ->
    case find(User, Id, State) of
        {ok, #known{told = none, held_by = [_ | _]}} ->
            case ejabberd_sm:get_user_resources(User, Host) of
                [_, _ | _] -> State;
                _ -> forget(User, Id, State)
            end;
        _ -> State
    end.
