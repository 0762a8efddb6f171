%%% ephemerd's companion module for ejabberd: what rooms remember and no archive holds, and their subjects.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later


%%% Marked messages that only a room's memory holds, and marked subjects, are announced as `remembered` and removed
%%% when the component asks for a scrub. The table of `mod_ephemerd` records which rooms have such messages, and
%%% each subject without its text.

-module(mod_ephemerd_memory).
-export([remember/3, tell_again/2, scrub/3]).

-include("xmpp.hrl").
-include("mod_muc_room.hrl").

%% Maximum number of rooms recorded, and of messages announced again.
-define(MAX_ROOMS, 10000).
-define(MAX_TOLD, 1000).
-define(SUBJECT, "subject:").

%% Runs in the room's process, after mod_mam has archived the message.
remember(#message{} = Message, #state{jid = #jid{luser = Room, lserver = Domain}, server_host = Host}, _Nick) ->
    mod_ephemerd:gap_unless_told(
        Domain, fun() -> remember_in(Host, {Room, Domain}, Message, mod_ephemerd_xml:marked(Message)) end),
    Message;
remember(Acc, _, _) ->
    Acc.

remember_in(Host, Owner, Message, none) ->
    %% Newer rooms also run this for the subject that they show to whoever joins.
    IsShown = xmpp:get_meta(Message, mam_ignore, false),
    case new_subject(Message) of
        [_ | _] when not IsShown -> note_subject(Host, Owner, none);
        _ -> ok
    end;
remember_in(Host, Owner, Message, El) ->
    Usec = xmpp:get_meta(Message, stanza_id, erlang:system_time(microsecond)),
    case new_subject(Message) of
        [] -> ok;
        Subject ->
            Id = subject_id(Usec, Owner, Subject),
            note_subject(Host, Owner, {Id, Usec, mod_ephemerd_xml:without_words(El)}),
            mod_ephemerd:tell(Host, Owner, remembered, Id, Usec, El)
    end,
    case is_only_in_memory(Message) of
        true ->
            note(Host, {remembers, Owner}),
            mod_ephemerd:tell(Host, Owner, remembered, integer_to_binary(Usec), Usec, El);
        false -> ok
    end.

%% A message that sets the room's subject, by the room's own rule.
new_subject(#message{subject = [_ | _] = Subject, body = [], thread = undefined}) -> Subject;
new_subject(_) -> [].

%% The room keeps messages with a body or a subject; without an archive id they could not be named.
is_only_in_memory(#message{body = Body, subject = Subject} = Message) ->
    (Body /= [] orelse Subject /= []) andalso not xmpp:get_meta(Message, mam_archived, false)
        andalso is_integer(xmpp:get_meta(Message, stanza_id, none)).

%% Identifies the text without revealing it, so that a subject is recognised after a restart.
subject_id(Usec, Owner, Subject) ->
    Digest = binary:encode_hex(crypto:hash(sha256, term_to_binary({Owner, Usec, Subject}))),
    <<?SUBJECT, (integer_to_binary(Usec))/binary, ":", Digest/binary>>.

%%% What is recorded

table(Host) -> gen_mod:get_module_proc(Host, mod_ephemerd).

note(Host, Key) ->
    Table = table(Host),
    ets:info(Table, size) < 2 * ?MAX_ROOMS andalso ets:insert(Table, {Key, []}),
    ok.

%% A subject without a timer replaces the record, and is left alone.
note_subject(Host, Owner, Note) ->
    Table = table(Host),
    IsNoted = ets:member(Table, {subject, Owner}),
    (IsNoted orelse ets:info(Table, size) < 2 * ?MAX_ROOMS) andalso ets:insert(Table, {{subject, Owner}, Note}),
    ok.

%%% What is asked

%% Announces everything recorded once more; returns how many.
tell_again(Host, Domain) ->
    Rooms = [Owner || {{remembers, {_, Is} = Owner}, _} <- ets:tab2list(table(Host)), Is == Domain],
    Messages = lists:sublist(lists:flatmap(fun(Owner) -> in_memory(Host, Owner) end, Rooms), ?MAX_TOLD),
    [mod_ephemerd:tell(Host, Owner, remembered, integer_to_binary(Usec), Usec, El) || {Owner, Usec, El} <- Messages],
    Subjects = [{Owner, Note} || {{subject, {_, Is} = Owner}, {_, _, _} = Note} <- ets:tab2list(table(Host)), Is == Domain],
    [mod_ephemerd:tell(Host, Owner, remembered, Id, Usec, El) || {Owner, {Id, Usec, El}} <- lists:sublist(Subjects, ?MAX_TOLD)],
    length(Messages) + min(length(Subjects), ?MAX_TOLD).

in_memory(Host, Owner) ->
    Found = [{Owner, xmpp:get_meta(Message, stanza_id, none), El}
             || Message <- mod_ephemerd_room:messages(Owner), is_only_in_memory(Message),
                #xmlel{} = El <- [mod_ephemerd_xml:marked(Message)]],
    Found /= [] orelse ets:delete(table(Host), {remembers, Owner}),
    Found.

%% Removes messages from a room's memory, and its subject if it is still the one that was announced.
scrub(Host, Owner, Ids) ->
    Subjects = [Id || <<?SUBJECT, _/binary>> = Id <- Ids],
    case mod_ephemerd_room:scrub(Owner, Ids -- Subjects) of
        {ok, Count} -> clear(Host, Owner, [Id || Id <- Subjects, is_current(Host, Owner, Id)], Count);
        Failed -> Failed
    end.

%% After a restart nothing is recorded, and only the text itself can tell.
is_current(Host, Owner, Id) ->
    case ets:lookup(table(Host), {subject, Owner}) of
        [] -> true;
        [{_, {Noted, _, _}}] -> Noted == Id;
        [{_, none}] -> false
    end.

clear(_, _, [], Count) -> {ok, Count};
clear(Host, Owner, [Id | _], Count) ->
    [_, Usec, _] = binary:split(Id, <<":">>, [global]),
    Names = fun(Subject) -> subject_id(binary_to_integer(Usec), Owner, Subject) == Id end,
    case mod_ephemerd_room:clear_subject(Host, Owner, Names) of
        {ok, Cleared} ->
            ets:delete(table(Host), {subject, Owner}),
            {ok, Count + Cleared};
        Failed -> Failed
    end.
