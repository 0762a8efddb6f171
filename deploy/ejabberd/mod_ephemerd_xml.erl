%%% ephemerd's companion module for ejabberd: what it reads in stanzas and what it writes into them. No state, no I/O.
%%%
%%% This program is free software; you can redistribute it and/or modify it under the terms of the GNU General Public
%%% License as published by the Free Software Foundation; either version 2 of the License, or (at your option) any later
%%% version. As a special exception, like ejabberd's own, permission is given to link it with the OpenSSL library and to
%%% distribute the result. It is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; see the GNU
%%% General Public License for more details. SPDX-License-Identifier: GPL-2.0-or-later

-module(mod_ephemerd_xml).
-export([marked/1, is_marked/1, standing/2, placeholder/3, reduce/1, without_words/1, text/1]).
-export([stamp/1, usec/1, stanza_id/2, delay_usec/2]).
-export([may_show_reading/1, shows/2, is_of_room/1, is_pubsub/1, published/1]).

-include("xmpp.hrl").

-define(NS_EPHEMERAL, <<"urn:xmpp:ephemeral:0">>).
-define(NS_EPHEMERD, <<"urn:ephemerd:0">>).
-define(NS_STORAGE_HINTS, <<"urn:xmpp:hints">>).
%% When a message expires by older specifications (XEP-0023, XEP-0079).
-define(NS_EXPIRING, <<"jabber:x:expire">>).
-define(NS_RULES, <<"http://jabber.org/protocol/amp">>).
-define(NS_PUBSUB_EVENTS, <<"http://jabber.org/protocol/pubsub#event">>).
-define(NS_STANZA_IDS, <<"urn:xmpp:sid:0">>).
-define(NS_DELAYS, <<"urn:xmpp:delay">>).
-define(NS_MARKERS, <<"urn:xmpp:chat-markers:0">>).
-define(NS_REPLIES, <<"urn:xmpp:reply:0">>).
-define(NS_REACTIONS, <<"urn:xmpp:reactions:0">>).
-define(NS_POSITIONS, <<"urn:xmpp:mds:displayed:0">>).
-define(NS_PUBLISHING, <<"http://jabber.org/protocol/pubsub">>).
-define(NS_OCCUPANTS, <<"http://jabber.org/protocol/muc#user">>).
-define(MUCSUB_MESSAGES, <<"urn:xmpp:mucsub:nodes:messages">>).

%% Longer or deeper stanzas are sent in a reduced form (docs/protocol.md, 2.1).
-define(MAX_TEXT, 131072).
-define(MAX_LEVELS, 32).
%% If even that is too long, only this many timers are sent, the shortest ones.
-define(MAX_TIMERS, 16).
-define(MAX_TIMER_TEXT, 64).
-define(MAX_SECONDS, 4294967295).
%% Of one stanza's references to messages only so many count.
-define(MAX_REFERENCES, 8).
%% Longer attributes of the start tag are left out.
-define(MAX_ATTRIBUTE, 4096).

%% A message as it is written, if it is marked.
-spec marked(message()) -> xmlel() | none.
marked(Message) ->
    case may_be_marked(Message) of
        true ->
            El = xmpp:encode(Message),
            case is_marked(El) of
                true -> El;
                false -> none
            end;
        false -> none
    end.

%% A cheap check of ordinary messages, before anything is encoded: `false` is certain.
may_be_marked(#message{sub_els = Els}) ->
    lists:any(fun may_mark/1, Els).

may_mark(#xmlel{name = Name, attrs = Attrs}) ->
    is_telling(fxml:get_attr_s(<<"xmlns">>, Attrs)) orelse binary:match(Name, <<":">>) /= nomatch;
may_mark(Decoded) ->
    is_telling(xmpp:get_ns(Decoded)).

is_telling(?NS_EPHEMERAL) -> true;
is_telling(?NS_STORAGE_HINTS) -> true;
is_telling(?NS_EPHEMERD) -> true;
is_telling(?NS_PUBSUB_EVENTS) -> true;
is_telling(?NS_EXPIRING) -> true;
is_telling(?NS_RULES) -> true;
is_telling(_) -> false.

%% Whether a direct child of the message, or of the message in a MUC/Sub event, concerns retention.
-spec is_marked(xmlel()) -> boolean().
is_marked(#xmlel{attrs = Attrs} = El) ->
    lists:any(fun(Child) -> is_mark(Child, [Attrs]) end, children(El)) orelse
        case wrapped(El) of
            {Inner, Scope} -> lists:any(fun(Child) -> is_mark(Child, Scope) end, children(Inner));
            none -> false
        end.

is_mark(Child, Scope) ->
    is_mark(name(Child, Scope)) orelse expiry_rules(Child, Scope) /= [].

%% Rules by which a message expires, unless they are a server's report about another message.
expiry_rules(#xmlel{attrs = Attrs} = El, Scope) ->
    case name(El, Scope) == {?NS_RULES, <<"amp">>} andalso not lists:keymember(<<"status">>, 1, Attrs) of
        true -> [Rule || Rule <- children(El), name(Rule, [Attrs | Scope]) == {?NS_RULES, <<"rule">>},
                         fxml:get_tag_attr_s(<<"condition">>, Rule) == <<"expire-at">>];
        false -> []
    end.

is_mark({?NS_EPHEMERAL, _}) -> true;
is_mark({?NS_EPHEMERD, <<"expired">>}) -> true;
is_mark({?NS_EXPIRING, <<"x">>}) -> true;
is_mark({?NS_STORAGE_HINTS, <<"no-permanent-store">>}) -> true;
is_mark({?NS_STORAGE_HINTS, <<"no-permanent-storage">>}) -> true;
is_mark({?NS_STORAGE_HINTS, <<"no-store">>}) -> true;
is_mark({?NS_STORAGE_HINTS, <<"no-storage">>}) -> true;
is_mark(_) -> false.

%% The message in a MUC/Sub event, and the attributes that are in scope for its children.
wrapped(#xmlel{attrs = Attrs} = El) ->
    Path = [{?NS_PUBSUB_EVENTS, <<"event">>}, {?NS_PUBSUB_EVENTS, <<"items">>}, {?NS_PUBSUB_EVENTS, <<"item">>}],
    walk(Path, El, [Attrs]).

walk([], El, Scope) ->
    case find({<<"jabber:client">>, <<"message">>}, El, Scope) of
        none -> none;
        #xmlel{attrs = Attrs} = Inner -> {Inner, [Attrs | Scope]}
    end;
walk([Step | Path], El, Scope) ->
    case find(Step, El, Scope) of
        none -> none;
        #xmlel{attrs = Attrs} = Next ->
            IsItems = element(2, Step) == <<"items">>,
            case IsItems andalso fxml:get_attr_s(<<"node">>, Attrs) /= ?MUCSUB_MESSAGES of
                true -> none;
                false -> walk(Path, Next, [Attrs | Scope])
            end
    end.

find(Name, El, Scope) ->
    case [Child || Child <- children(El), name(Child, Scope) == Name] of
        [First | _] -> First;
        [] -> none
    end.

children(#xmlel{children = Children}) ->
    [Child || #xmlel{} = Child <- Children].

%% Namespace and local name, whatever the prefix. `Scope` has the attributes of the enclosing elements, innermost
%% first.
name(#xmlel{name = Name, attrs = Attrs}, Scope) ->
    case binary:split(Name, <<":">>) of
        [Local] -> {declared(<<"xmlns">>, [Attrs | Scope], <<"jabber:client">>), Local};
        [Prefix, Local] -> {declared(<<"xmlns:", Prefix/binary>>, [Attrs | Scope], <<>>), Local}
    end.

declared(_, [], Default) -> Default;
declared(Key, [Attrs | Scope], Default) ->
    case lists:keyfind(Key, 1, Attrs) of
        {_, Ns} -> Ns;
        false -> declared(Key, Scope, Default)
    end.

%% What kind of row this is; `plain` is left alone.
-spec standing(xmlel(), archive | queue) -> plain | marked | placeholder.
standing(El, Store) ->
    case is_marked(El) of
        false -> plain;
        true ->
            Expired = find({?NS_EPHEMERD, <<"expired">>}, El, [El#xmlel.attrs]),
            case Expired /= none andalso placeholder(El, fxml:get_tag_attr_s(<<"until">>, Expired), Store) of
                El -> placeholder;
                _ -> marked
            end
    end.

%% The stanza that replaces an erased one. In a queue it keeps what the server's own bookkeeping needs.
-spec placeholder(xmlel(), binary(), archive | queue) -> xmlel().
placeholder(#xmlel{name = Name, attrs = Attrs} = El, Until, Store) ->
    {Keep, Kept} =
        case Store of
            archive -> {[<<"xmlns">>, <<"from">>, <<"to">>, <<"type">>], []};
            queue -> {[<<"xmlns">>, <<"from">>, <<"to">>, <<"type">>, <<"id">>], bookkeeping(El)}
        end,
    Expired = #xmlel{name = <<"expired">>, attrs = [{<<"xmlns">>, ?NS_EPHEMERD}, {<<"until">>, Until}]},
    #xmlel{name = Name, attrs = only(Keep, Attrs), children = [Expired | Kept]}.

%% Text inside is dropped: anybody may have written it.
bookkeeping(#xmlel{attrs = Scope} = El) ->
    lists:filtermap(
        fun(Child) ->
            case name(Child, [Scope]) of
                {?NS_STANZA_IDS, <<"stanza-id">>} ->
                    {true, bare(<<"stanza-id">>, ?NS_STANZA_IDS, only([<<"by">>, <<"id">>], Child#xmlel.attrs))};
                {?NS_DELAYS, <<"delay">>} ->
                    {true, bare(<<"delay">>, ?NS_DELAYS, only([<<"from">>, <<"stamp">>], Child#xmlel.attrs))};
                _ -> false
            end
        end, children(El)).

bare(Name, Ns, Attrs) ->
    #xmlel{name = Name, attrs = [{<<"xmlns">>, Ns} | Attrs]}.

only(Names, Attrs) ->
    [Attr || {Name, _} = Attr <- Attrs, lists:member(Name, Names)].

%% The stanza as it is forwarded: whole, or reduced if its text is too long.
-spec reduce(xmlel()) -> {xmlel(), Reduced :: boolean()}.
reduce(El) ->
    case not is_deeper(El, ?MAX_LEVELS) andalso is_declared(El, [<<"xml">>]) andalso fits(El) of
        true -> {rooted(El), false};
        false ->
            Reduced = reduced(El),
            case fits(Reduced) of
                true -> {rooted(Reduced), true};
                false -> {rooted(barely(El)), true}
            end
    end.

%% Everything that concerns retention, and no text.
-spec without_words(xmlel()) -> xmlel().
without_words(El) -> rooted(reduced(El)).

fits(El) -> byte_size(text(El)) =< ?MAX_TEXT.

is_deeper(El, Levels) ->
    lists:any(fun(Child) -> Levels =< 1 orelse is_deeper(Child, Levels - 1) end, children(El)).

%% Whether each prefix is declared in the stanza itself; a client may have declared it for the stream.
is_declared(#xmlel{name = Name, attrs = Attrs} = El, Known) ->
    Prefixes = [Prefix || {<<"xmlns:", Prefix/binary>>, _} <- Attrs] ++ Known,
    Used = [Prefix || Written <- [Name | [Attr || {Attr, _} <- Attrs]], [Prefix, _] <- [binary:split(Written, <<":">>)],
                      Prefix /= <<"xmlns">>],
    lists:all(fun(Prefix) -> lists:member(Prefix, Prefixes) end, Used)
        andalso lists:all(fun(Child) -> is_declared(Child, Prefixes) end, children(El)).

rooted(#xmlel{attrs = Attrs} = El) ->
    El#xmlel{attrs = lists:keystore(<<"xmlns">>, 1, Attrs, {<<"xmlns">>, <<"jabber:client">>})}.

%% Without its text, but with everything that concerns retention.
reduced(#xmlel{attrs = Attrs} = El) ->
    Own = what_it_says(children(El), [Attrs]),
    Children = case wrapped(El) of
                   none -> Own;
                   {Inner, Scope} -> [Child || Child <- Own, name(Child, []) /= {?NS_PUBSUB_EVENTS, <<"event">>}] ++ [event(Inner, Scope)]
               end,
    (start(El))#xmlel{children = Children}.

event(Inner, Scope) ->
    Message = (start(rooted(Inner)))#xmlel{children = what_it_says(children(Inner), Scope)},
    Item = (bare(<<"item">>, ?NS_PUBSUB_EVENTS, []))#xmlel{children = [Message]},
    Items = (bare(<<"items">>, ?NS_PUBSUB_EVENTS, [{<<"node">>, ?MUCSUB_MESSAGES}]))#xmlel{children = [Item]},
    (bare(<<"event">>, ?NS_PUBSUB_EVENTS, []))#xmlel{children = [Items]}.

start(#xmlel{attrs = Attrs}) ->
    Kept = only([<<"xmlns">>, <<"from">>, <<"to">>, <<"type">>, <<"id">>], Attrs),
    % Without its prefix, whose declaration is cut off.
    #xmlel{name = <<"message">>, attrs = [Attr || {_, Value} = Attr <- Kept, byte_size(Value) =< ?MAX_ATTRIBUTE]}.

what_it_says(Children, Scope) ->
    [said(name(Child, Scope), Child, expiry_rules(Child, Scope)) || Child <- Children].

said({Ns, Local}, _, [_ | _] = Rules) ->
    Said = [bare(<<"rule">>, Ns, only([<<"condition">>, <<"action">>, <<"value">>], Rule#xmlel.attrs)) || Rule <- Rules],
    (bare(Local, Ns, []))#xmlel{children = Said};
said({Ns, Local} = Name, Child, []) ->
    Speaks = is_mark(Name) orelse Name == {?NS_STORAGE_HINTS, <<"store">>} orelse
        Name == {?NS_STANZA_IDS, <<"stanza-id">>},
    Kept = case Speaks of
               true -> only([<<"timer">>, <<"until">>, <<"by">>, <<"id">>, <<"seconds">>], Child#xmlel.attrs);
               false -> []
           end,
    % An empty element carries no text, and our placeholders are empty.
    Words = [{xmlcdata, <<"…"/utf8>>} || Child#xmlel.children /= []],
    (bare(Local, Ns, Kept))#xmlel{children = Words}.

%% The last resort, whatever a user sends: one of each hint, the shortest timers, and that there was content.
barely(#xmlel{attrs = Attrs} = El) ->
    Inside = case wrapped(El) of
                 none -> [];
                 {Inner, Scope} -> [{name(Child, Scope), Child} || Child <- children(Inner)]
             end,
    All = [{name(Child, [Attrs]), Child} || Child <- children(El)] ++ Inside,
    Hints = [bare(Local, Ns, []) || {Ns, Local} = Name <- lists:usort([Name || {Name, _} <- All]), is_hint(Name)],
    Seconds = lists:usort([Second || {{?NS_EPHEMERAL, <<"ephemeral">>}, Child} <- All,
                                     Second <- seconds(fxml:get_tag_attr_s(<<"timer">>, Child))]),
    Timers = [bare(<<"ephemeral">>, ?NS_EPHEMERAL, [{<<"timer">>, integer_to_binary(Second)}])
              || Second <- lists:sublist(Seconds, ?MAX_TIMERS)],
    Body = #xmlel{name = <<"body">>, children = [{xmlcdata, <<"…"/utf8>>}]},
    (start(El))#xmlel{children = Hints ++ Timers ++ [Body]}.

is_hint({?NS_EPHEMERAL, <<"i-want-out">>}) -> true;
is_hint({?NS_EPHEMERD, <<"once">>}) -> true;
is_hint({?NS_STORAGE_HINTS, <<"store">>}) -> true;
is_hint({?NS_STORAGE_HINTS, _} = Name) -> is_mark(Name);
is_hint(_) -> false.

%% A timer's seconds, as the daemon reads them; none if it is not a number, or too long.
seconds(Timer) when byte_size(Timer) > ?MAX_TIMER_TEXT -> [];
seconds(Timer) ->
    case re:run(Timer, "^\\s*\\+?([0-9]*)(?:\\.([0-9]*))?\\s*$", [{capture, all_but_first, binary}]) of
        nomatch -> [];
        {match, Parts} ->
            case [whole(Part) || Part <- Parts, Part /= <<>>] of
                [] -> [];
                _ -> [min(whole(hd(Parts)) + min(whole(iolist_to_binary(tl(Parts))), 1), ?MAX_SECONDS)]
            end
    end.

whole(<<>>) -> 0;
whole(Digits) -> binary_to_integer(Digits).

-spec text(xmlel()) -> binary().
text(El) -> fxml:element_to_binary(El).

%% XEP-0082, to and from microseconds since 1970.
-spec stamp(integer()) -> binary().
stamp(Usec) ->
    list_to_binary(calendar:system_time_to_rfc3339(Usec, [{unit, microsecond}, {offset, "Z"}])).

-spec usec(binary()) -> {ok, integer()} | error.
usec(Stamp) when byte_size(Stamp) =< 64 ->
    try {ok, calendar:rfc3339_to_system_time(binary_to_list(Stamp), [{unit, microsecond}])}
    catch _:_ -> error
    end;
usec(_) -> error.

%% The last id that this archive gave the stanza.
-spec stanza_id(xmlel(), binary()) -> binary() | none.
stanza_id(#xmlel{attrs = Scope} = El, By) ->
    Ids = [fxml:get_tag_attr_s(<<"id">>, Child)
           || Child <- children(El), name(Child, [Scope]) == {?NS_STANZA_IDS, <<"stanza-id">>},
              fxml:get_tag_attr_s(<<"by">>, Child) == By],
    case [Id || Id <- Ids, Id /= <<>>, byte_size(Id) =< 256] of
        [] -> none;
        Some -> lists:last(Some)
    end.

%% When this host delayed the stanza.
-spec delay_usec(xmlel(), binary()) -> {ok, integer()} | error.
delay_usec(#xmlel{attrs = Scope} = El, Host) ->
    Stamps = [fxml:get_tag_attr_s(<<"stamp">>, Child)
              || Child <- children(El), name(Child, [Scope]) == {?NS_DELAYS, <<"delay">>},
                 fxml:get_tag_attr_s(<<"from">>, Child) == Host],
    case Stamps of
        [] -> error;
        _ -> usec(lists:last(Stamps))
    end.

%%% What shows that its sender has read something

%% A cheap check of ordinary messages, before anything is encoded: `false` is certain.
-spec may_show_reading(message()) -> boolean().
may_show_reading(#message{sub_els = Els}) ->
    Namespaces = [?NS_MARKERS, ?NS_REPLIES, ?NS_REACTIONS, ?NS_POSITIONS],
    lists:any(
        fun(#xmlel{name = Name, attrs = Attrs}) ->
                lists:member(fxml:get_attr_s(<<"xmlns">>, Attrs), Namespaces) orelse binary:match(Name, <<":">>) /= nomatch;
           (Decoded) -> lists:member(xmpp:get_ns(Decoded), Namespaces)
        end, Els).

%% Kinds and ids of the messages that this one shows to have been read.
-spec shows(xmlel(), binary() | none) -> [{binary(), binary()}].
shows(#xmlel{attrs = Attrs} = El, Owner) ->
    Shown = lists:flatmap(
        fun(Child) ->
            Id = fxml:get_tag_attr_s(<<"id">>, Child),
            case name(Child, [Attrs]) of
                {?NS_MARKERS, <<"displayed">>} -> [{<<"marker">>, Id}];
                {?NS_REPLIES, <<"reply">>} -> [{<<"reply">>, Id}];
                {?NS_REACTIONS, <<"reactions">>} -> [{<<"reply">>, Id}];
                % A client may leave it to the server to publish it.
                {?NS_POSITIONS, <<"displayed">>} -> [{<<"mds">>, At} || {By, At} <- position(Child, [Attrs]), By == Owner];
                _ -> []
            end
        end, children(El)),
    lists:sublist(Shown, ?MAX_REFERENCES).

%% Whether one occupant of a room wrote it to another.
-spec is_of_room(message()) -> boolean().
is_of_room(#message{sub_els = Els} = Message) ->
    May = fun(#xmlel{name = Name, attrs = Attrs}) ->
                  fxml:get_attr_s(<<"xmlns">>, Attrs) == ?NS_OCCUPANTS orelse binary:match(Name, <<":">>) /= nomatch;
             (Decoded) -> xmpp:get_ns(Decoded) == ?NS_OCCUPANTS
          end,
    lists:any(May, Els) andalso
        begin
            #xmlel{attrs = Attrs} = El = xmpp:encode(Message),
            find({?NS_OCCUPANTS, <<"x">>}, El, [Attrs]) /= none
        end.

is_pubsub(#xmlel{attrs = Attrs}) -> fxml:get_attr_s(<<"xmlns">>, Attrs) == ?NS_PUBLISHING;
is_pubsub(Decoded) -> xmpp:get_ns(Decoded) == ?NS_PUBLISHING.

%% The chats, archives and archive ids in the positions that a request publishes (XEP-0490).
-spec published(xmlel()) -> [{binary(), binary(), binary()}].
published(#xmlel{attrs = Attrs} = El) ->
    case find({?NS_PUBLISHING, <<"pubsub">>}, El, [Attrs]) of
        none -> [];
        #xmlel{attrs = Outer} = Pubsub -> published_in(find({?NS_PUBLISHING, <<"publish">>}, Pubsub, [Outer, Attrs]), [Outer, Attrs])
    end.

published_in(#xmlel{attrs = Attrs} = Publish, Outer) ->
    Scope = [Attrs | Outer],
    Positions = [{fxml:get_tag_attr_s(<<"id">>, Item), By, At}
     || fxml:get_attr_s(<<"node">>, Attrs) == ?NS_POSITIONS,
        Item <- children(Publish), name(Item, Scope) == {?NS_PUBLISHING, <<"item">>},
        #xmlel{} = Displayed <- [find({?NS_POSITIONS, <<"displayed">>}, Item, [Item#xmlel.attrs | Scope])],
        {By, At} <- position(Displayed, [Item#xmlel.attrs | Scope])],
    lists:sublist(Positions, ?MAX_REFERENCES);
published_in(none, _) -> [].

%% The archive id that such an element names, if it is one of this owner's archive.
position(#xmlel{attrs = Attrs} = Displayed, Scope) ->
    case find({?NS_STANZA_IDS, <<"stanza-id">>}, Displayed, [Attrs | Scope]) of
        none -> [];
        Id -> [{fxml:get_tag_attr_s(<<"by">>, Id), fxml:get_tag_attr_s(<<"id">>, Id)}]
    end.
