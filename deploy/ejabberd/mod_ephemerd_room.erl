%%% ephemerd's companion module for ejabberd: what a room has in memory for those who join.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

-module(mod_ephemerd_room).
-export([scrub/2, messages/1, clear_subject/3, members/2]).
-export([scrub_state/3, messages_of/2, clear_state/3, members_of/2]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_muc_room.hrl").

-define(WITHIN_MS, 5000).

%% Removes messages with these archive ids from the history; returns how many. A room that is not loaded has none.
%% `busy` may be retried; `unable` is a room whose internals this module was not built for.
-spec scrub({binary(), binary()}, [binary()]) -> {ok, non_neg_integer()} | busy | unable.
scrub(_, []) -> {ok, 0};
scrub({Room, Domain}, Ids) ->
    Wanted = maps:from_keys(Ids, []),
    case mod_muc:find_online_room(Room, Domain) of
        {ok, Pid} ->
            case in_room(Pid, fun(State, Caller) -> ?MODULE:scrub_state(State, Wanted, Caller) end) of
                ended -> {ok, 0};
                Scrubbed -> Scrubbed
            end;
        error -> {ok, 0}
    end.

%% What a room remembers; empty if it does not answer.
-spec messages({binary(), binary()}) -> [message()].
messages({Room, Domain}) ->
    case mod_muc:find_online_room(Room, Domain) of
        {ok, Pid} ->
            case in_room(Pid, fun(State, Caller) -> ?MODULE:messages_of(State, Caller) end) of
                {ok, Messages} when is_list(Messages) -> Messages;
                _ -> []
            end;
        error -> []
    end.

%% Removes the subject if `Names` says that it is the right one; returns how many. Wakes a hibernating room.
-spec clear_subject(binary(), {binary(), binary()}, fun((list()) -> boolean())) -> {ok, 0 | 1} | busy | unable.
clear_subject(Host, {Room, Domain}, Names) ->
    case mod_muc:unhibernate_room(Host, Domain, Room) of
        {ok, Pid} ->
            case in_room(Pid, fun(State, Caller) -> ?MODULE:clear_state(State, Names, Caller) end) of
                % It was about to hibernate, and has its subject still.
                ended -> busy;
                Cleared ->
                    Cleared == {ok, 1} andalso store(Pid),
                    Cleared
            end;
        _ -> {ok, 0}
    end.

%% The members of a room for members only, owners and admins included, with what each is called there, if they are there:
%% `open` is another room, `none` no room. One that is not loaded is not woken.
-spec members(binary(), {binary(), binary()}) -> {members, [{jid:ljid(), [binary()]}]} | open | none | busy | unable.
members(Host, {Room, Domain}) ->
    case mod_muc:find_online_room(Room, Domain) of
        {ok, Pid} ->
            case in_room(Pid, fun(State, Caller) -> ?MODULE:members_of(State, Caller) end) of
                {ok, Found} -> Found;
                ended -> stored_members(Host, Room, Domain);
                Failed -> Failed
            end;
        error -> stored_members(Host, Room, Domain)
    end.

stored_members(Host, Room, Domain) ->
    case mod_muc:restore_room(Host, Domain, Room) of
        Opts when is_list(Opts) ->
            listed(proplists:get_value(members_only, Opts, false), proplists:get_value(affiliations, Opts, []), #{});
        _ -> none
    end.

listed(true, Affiliations, Nicks) ->
    Here = maps:from_list([{jid:remove_resource(Full), Nick} || {Nick, All} <- maps:to_list(Nicks), Full <- All]),
    {members, [{Who, [maps:get(Who, Here) || maps:is_key(Who, Here)]}
               || {Who, Is} <- Affiliations, lists:member(affiliation(Is), [owner, admin, member])]};
listed(_, _, _) -> open.

affiliation({Affiliation, _Reason}) -> Affiliation;
affiliation(Affiliation) -> Affiliation.

%% A persistent room saves itself when its configuration is set.
store(Pid) ->
    case mod_muc_room:get_config(Pid) of
        {ok, #config{persistent = true} = Config} -> mod_muc_room:set_config(Pid, Config);
        _ -> ok
    end.

%% The room does it itself between two stanzas, so that nothing that arrives meanwhile is lost. If the function
%% fails, `sys` catches that, and the room continues with its previous state.
in_room(Pid, Work) ->
    Ref = make_ref(),
    Caller = {self(), Ref},
    try sys:replace_state(Pid, fun(State) -> Work(State, Caller) end, ?WITHIN_MS) of
        _ -> receive {Ref, Result} -> {ok, Result} after 0 -> unable() end
    catch
        exit:{noproc, _} -> ended;
        exit:{normal, _} -> ended;
        exit:{timeout, _} -> busy;
        _:_ -> unable()
    end.

unable() ->
    ?ERROR_MSG("A room's recent history cannot be changed: was the module built for this ejabberd?", []),
    unable.

%% Runs in the room's process, on the state that `p1_fsm` gives to `sys`.
scrub_state([Name, StateName, #state{history = #lqueue{queue = Queue} = History} = Data, mod_muc_room | More] = State,
            Wanted, {Caller, Ref}) ->
    Elements = p1_queue:to_list(Queue),
    Kept = [Element || Element <- Elements, not is_wanted(Element, Wanted)],
    Count = length(Elements) - length(Kept),
    New = case Count of
              0 -> State;
              _ ->
                  Shorter = History#lqueue{queue = p1_queue:from_list(Kept, p1_queue:type(Queue))},
                  [Name, StateName, Data#state{history = Shorter}, mod_muc_room | More]
          end,
    Caller ! {Ref, Count},
    New;
scrub_state(State, _, _) -> State.

messages_of([_, _, #state{history = #lqueue{queue = Queue}}, mod_muc_room | _] = State, {Caller, Ref}) ->
    Caller ! {Ref, [Message || {_, #message{} = Message, _, _, _} <- p1_queue:to_list(Queue)]},
    State;
messages_of(State, _) -> State.

members_of([_, _, #state{config = #config{members_only = IsForMembers}, affiliations = Affiliations, nicks = Nicks}, mod_muc_room | _] = State,
           {Caller, Ref}) ->
    Caller ! {Ref, listed(IsForMembers, maps:to_list(Affiliations), Nicks)},
    State;
members_of(State, _) -> State.

clear_state([Name, StateName, #state{subject = [_ | _] = Subject} = Data, mod_muc_room | More] = State, Names, {Caller, Ref}) ->
    case Names(Subject) of
        true ->
            Empty = #state{},
            New = Data#state{subject = Empty#state.subject, subject_author = Empty#state.subject_author},
            tell_occupants(New),
            Caller ! {Ref, 1},
            [Name, StateName, New, mod_muc_room | More];
        false ->
            Caller ! {Ref, 0},
            State
    end;
clear_state(State, _, {Caller, Ref}) ->
    Caller ! {Ref, 0},
    State.

tell_occupants(#state{jid = Room, users = Users}) ->
    Message = #message{type = groupchat, from = Room, subject = [#text{}]},
    maps:foreach(fun(_, #user{jid = To}) -> ejabberd_router:route(xmpp:set_to(Message, To)) end, Users).

is_wanted({_Nick, #message{} = Message, _, _, _}, Wanted) ->
    case xmpp:get_meta(Message, stanza_id, none) of
        Id when is_integer(Id) -> maps:is_key(integer_to_binary(Id), Wanted);
        _ -> false
    end;
is_wanted(_, _) -> false.
