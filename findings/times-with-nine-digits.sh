#!/usr/bin/env bash
# A time to the billionth of a second, as libraries of Rust and Go may write it, is no time to slixmpp and aioxmpp.
#
# Version: slixmpp 1.17.0, aioxmpp 0.13.3 (PyPI); Prosody 0.12.3, erlang-p1-xmpp 1.6.1 (Debian 12), stanza 12.22.1 (npm).
# Guess: all five read it, and ignore the digits that they have no place for: a fraction may have any number of them (XEP-0082).
# Behaviour: both libraries in Python raise ValueError above six digits, slixmpp where a handler asks for the stamp of a message that was
#   delayed or archived. ejabberd and stanza.js cut off what is too much, Prosody all of it.
# Seen, in milliseconds since 1970, of 2024-01-01T00:00:00 with a fraction:
# | .5Z: slixmpp 1704067200500, aioxmpp 1704067200500, Prosody 1704067200000, ejabberd 1704067200500, stanza.js 1704067200500
# | .123456Z: slixmpp 1704067200123, aioxmpp 1704067200123, Prosody 1704067200000, ejabberd 1704067200123, stanza.js 1704067200123
# | .123456789Z: slixmpp ValueError, aioxmpp ValueError, Prosody 1704067200000, ejabberd 1704067200123, stanza.js 1704067200123
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1 erlang-p1-xmpp=1.6.1-1
programs erl
python slixmpp==1.17.0 aioxmpp==0.13.3 pytz==2026.6
node_packages stanza@12.22.1

# Each reads the times that are given and writes a line for each.
cat >"$WORK/times.py" <<'PYTHON'
import sys

from aioxmpp.xso import DateTime
from slixmpp import Message
from slixmpp.plugins.xep_0203 import Delay
from slixmpp.xmlstream import ET, register_stanza_plugin

register_stanza_plugin(Message, Delay)


def by_slixmpp(time):
    return Message(xml=ET.fromstring(f'<message xmlns="jabber:client"><delay xmlns="urn:xmpp:delay" stamp="{time}"/></message>'))["delay"]["stamp"]


read = {"slixmpp": by_slixmpp, "aioxmpp": DateTime().parse}[sys.argv[1]]
for time in sys.argv[2:]:
    try:
        print(int(read(time).timestamp() * 1000))
    except ValueError as error:
        print(type(error).__name__)
PYTHON
cat >"$WORK/times.lua" <<'LUA'
for _, time in ipairs(arg) do print(string.format("%.0f", require "util.datetime".parse(time) * 1000)); end
LUA
cat >"$WORK/times.mjs" <<'JS'
import { createClient, JXT } from "stanza";
const stanzas = createClient({}).stanzas;
for (const time of process.argv.slice(2))
  console.log(stanzas.import(JXT.parse(`<message xmlns="jabber:client"><delay xmlns="urn:xmpp:delay" stamp="${time}"/></message>`)).delay.timestamp.getTime());
JS
names=(.5Z .123456Z .123456789Z)
times=("${names[@]/#/2024-01-01T00:00:00}")
python3 "$WORK/times.py" slixmpp "${times[@]}" >"$WORK/slixmpp" 2>>"$WORK/log"
python3 "$WORK/times.py" aioxmpp "${times[@]}" >"$WORK/aioxmpp" 2>>"$WORK/log"
LUA_PATH='/usr/lib/prosody/?.lua;;' LUA_CPATH='/usr/lib/prosody/?.so;;' lua5.4 "$WORK/times.lua" "${times[@]}" >"$WORK/Prosody"
erl -noshell -pa /usr/lib/erlang/lib/*/ebin -eval '
    [begin
        {Mega, Seconds, Micro} = xmpp_util:decode_timestamp(list_to_binary(Time)),
        io:format("~b~n", [(Mega * 1000000 + Seconds) * 1000 + Micro div 1000])
    end || Time <- init:get_plain_arguments()], halt().' -extra "${times[@]}" >"$WORK/ejabberd" 2>>"$WORK/log"
node "$WORK/times.mjs" "${times[@]}" >"$WORK/stanza.js" 2>>"$WORK/log"

for line in "${!names[@]}"; do
    read=()
    for library in slixmpp aioxmpp Prosody ejabberd stanza.js; do
        read+=("$library $(sed -n "$((line + 1))p" "$WORK/$library")")
    done
    (IFS=,; echo "${names[line]}: ${read[*]}" | sed 's/,/, /g')
done | as_described
