#!/usr/bin/env bash
# ejabberd's XMPP library moves a message's body behind everything that it does not know.
#
# Version: erlang-p1-xmpp 1.6.1, ejabberd 23.01's (Debian 12).
# Guess: decode and encode of a message keep the order of its children.
# Behaviour: body, subject and thread are fields of a record and are written last, after all children that stay XML.
#   Children that stay XML keep their order among themselves. A reader that takes what stands before the body for
#   something else than what stands behind it, or compares stanzas as text, sees another message.
# Seen, a message sent as thread, body, x, subject, ephemeral:
# | in: thread body x subject ephemeral
# | out: x ephemeral body subject thread
. "$(dirname "$0")/lib.sh"

debian erlang-p1-xmpp=1.6.1-1
programs erl

cat >"$WORK/finding.erl" <<'ERLANG'
-module(finding).
-export([main/0]).

names({xmlel, _, _, Children}) -> [[" ", Name] || {xmlel, Name, _, _} <- Children].

main() ->
    {ok, _} = application:ensure_all_started(xmpp),
    Text = <<"<message xmlns='jabber:client' type='chat'><thread>t</thread><body>words</body><x xmlns='urn:a'/>"
             "<subject>s</subject><ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/></message>">>,
    In = fxml_stream:parse_element(Text),
    Out = xmpp:encode(xmpp:decode(In, <<"jabber:client">>, []), <<"jabber:client">>),
    io:format("in:~s~nout:~s~n", [names(In), names(Out)]).
ERLANG
erlc -o "$WORK" "$WORK/finding.erl"

erl -noshell -pa "$WORK" -eval 'finding:main(), halt().' 2>>"$WORK/log" | as_described
