%%% ephemerd's companion module for ejabberd: what a room has in memory for those who join.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

-module(mod_ephemerd_room).
-export([scrub/2, scrub_state/3]).

-include("logger.hrl").
-include("xmpp.hrl").
-include("mod_muc_room.hrl").

-define(WITHIN_MS, 5000).

%% Takes messages with these archive ids out of the history; says how many went. A room that is not loaded has none. `busy`
%% may be tried again, `unable` is a room whose inside is not what this module was built for.
-spec scrub({binary(), binary()}, [binary()]) -> {ok, non_neg_integer()} | busy | unable.
scrub({Room, Domain}, Ids) ->
    case mod_muc:find_online_room(Room, Domain) of
        {ok, Pid} -> scrub_room(Pid, Ids);
        error -> {ok, 0}
    end.

%% The room does it itself between two stanzas, so that nothing that comes meanwhile is lost. Where the function fails,
%% `sys` catches that, and the room goes on with the state that it had.
scrub_room(Pid, Ids) ->
    Ref = make_ref(),
    Self = self(),
    Wanted = maps:from_keys(Ids, []),
    try sys:replace_state(Pid, fun(State) -> ?MODULE:scrub_state(State, Wanted, {Self, Ref}) end, ?WITHIN_MS) of
        _ -> receive {Ref, Count} -> {ok, Count} after 0 -> unable() end
    catch
        exit:{noproc, _} -> {ok, 0};
        exit:{normal, _} -> {ok, 0};
        exit:{timeout, _} -> busy;
        _:_ -> unable()
    end.

unable() ->
    ?ERROR_MSG("A room's recent history cannot be changed: was the module built for this ejabberd?", []),
    unable.

%% Runs in the room's process, on what `p1_fsm` gives to `sys`.
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

is_wanted({_Nick, #message{} = Message, _, _, _}, Wanted) ->
    case xmpp:get_meta(Message, stanza_id, none) of
        Id when is_integer(Id) -> maps:is_key(integer_to_binary(Id), Wanted);
        _ -> false
    end;
is_wanted(_, _) -> false.
