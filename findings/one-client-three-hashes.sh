#!/usr/bin/env bash
# The hash of what a client can do (XEP-0115), for all to reckon alike, differs between four libraries when there is a form in it.
#
# Version: Prosody 0.12.3, ejabberd 23.01 with erlang-p1-xmpp 1.6.1 (Debian 12), slixmpp 1.17.0 (PyPI), stanza 12.22.1 (npm).
# Guess: the four have the same hash for any answer to disco#info, since the XEP says step by step how it is reckoned.
# Behaviour: they have for identities, features and forms like those of the XEP's examples. A field without a value is to slixmpp
#   one with an empty value. A form without FORM_TYPE, or with one that is not hidden, is to be left out: Prosody and ejabberd take both,
#   the first not alike, and slixmpp the second, in a third way. Where the hash is another than the sender's, nothing is cached by it.
# Seen, the beginnings of the hashes:
# | no form: Prosody QgayPK, ejabberd QgayPK, slixmpp QgayPK, stanza.js QgayPK
# | a form: Prosody Tikn2J, ejabberd Tikn2J, slixmpp Tikn2J, stanza.js Tikn2J
# | empty value: Prosody YuIdQL, ejabberd YuIdQL, slixmpp YuIdQL, stanza.js YuIdQL
# | no value: Prosody rUYE3i, ejabberd rUYE3i, slixmpp YuIdQL, stanza.js rUYE3i
# | no FORM_TYPE: Prosody CxPiV4, ejabberd lFi6tP, slixmpp QgayPK, stanza.js QgayPK
# | FORM_TYPE not hidden: Prosody Tikn2J, ejabberd Tikn2J, slixmpp jmxmD4, stanza.js QgayPK
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1 ejabberd=23.01-1 erlang-p1-xmpp=1.6.1-1
programs erl erlc
python slixmpp==1.17.0
node_packages stanza@12.22.1

# An answer with the form that is given.
names=("no form" "a form" "empty value" "no value" "no FORM_TYPE" "FORM_TYPE not hidden")
answer() {
    features=$(printf '<feature var="http://jabber.org/protocol/%s"/>' caps "disco#info" "disco#items" muc)
    printf '<query xmlns="http://jabber.org/protocol/disco#info"><identity category="client" name="Exodus 0.9.1" type="pc"/>%s%s</query>' "$features" "$2" >"$WORK/$1.xml"
}
form() {
    answer "$1" "<x xmlns=\"jabber:x:data\" type=\"result\">$2</x>"
}
hidden='<field var="FORM_TYPE" type="hidden"><value>urn:xmpp:dataforms:softwareinfo</value></field>'
field='<field var="a"><value>1</value></field>'
answer "no form" ""
form "a form" "$hidden$field"
form "empty value" "$hidden<field var=\"a\"><value></value></field><field var=\"b\"><value>1</value></field>"
form "no value" "$hidden<field var=\"a\"/><field var=\"b\"><value>1</value></field>"
form "no FORM_TYPE" "$field"
form "FORM_TYPE not hidden" "${hidden/hidden/text-single}$field"

# Each reads the answers that are named and writes a hash for each on a line.
cat >"$WORK/hashes.lua" <<'LUA'
local caps, xml = require "util.caps", require "util.xml";
for _, name in ipairs(arg) do
	print((caps.calculate_hash(xml.parse(io.open(os.getenv("ANSWERS") .. "/" .. name .. ".xml"):read("a")))));
end
LUA
cat >"$WORK/hashes.erl" <<'ERLANG'
-module(hashes).
-export([main/1]).
main(Names) ->
    {ok, _} = application:ensure_all_started(xmpp),
    [begin
        {ok, Text} = file:read_file(filename:join(os:getenv("ANSWERS"), Name ++ ".xml")),
        io:format("~s~n", [mod_caps:compute_disco_hash(xmpp:decode(fxml_stream:parse_element(Text)), sha)])
    end || Name <- Names].
ERLANG
cat >"$WORK/hashes.py" <<'PYTHON'
import os
import sys
from pathlib import Path

from slixmpp import ClientXMPP
from slixmpp.plugins.xep_0030 import DiscoInfo
from slixmpp.xmlstream import ET

client = ClientXMPP("alice@example.org", "unused")
for plugin in "xep_0004", "xep_0030", "xep_0115", "xep_0128":
    client.register_plugin(plugin)
for name in sys.argv[1:]:
    answer = DiscoInfo(xml=ET.fromstring(Path(os.environ["ANSWERS"], name + ".xml").read_text()))
    print(client.plugin["xep_0115"].generate_verstring(answer, "sha-1"))
PYTHON
cat >"$WORK/hashes.mjs" <<'JS'
import { readFileSync } from "node:fs";
import { createClient, JXT } from "stanza";
import { generate } from "stanza/helpers/LegacyEntityCapabilities.js";
const stanzas = createClient({}).stanzas;
for (const name of process.argv.slice(2)) {
  const answer = readFileSync(`${process.env.ANSWERS}/${name}.xml`, "utf8");
  console.log(generate(stanzas.import(JXT.parse(`<iq xmlns="jabber:client" type="result">${answer}</iq>`)).disco, "sha-1"));
}
JS
export ANSWERS=$WORK
erlc -o "$WORK" "$WORK/hashes.erl"
LUA_PATH='/usr/lib/prosody/?.lua;;' LUA_CPATH='/usr/lib/prosody/?.so;;' lua5.4 "$WORK/hashes.lua" "${names[@]}" >"$WORK/Prosody"
erl -noshell -pa "$WORK" /usr/lib/*/ejabberd-*/ebin /usr/lib/erlang/lib/*/ebin -eval 'hashes:main(init:get_plain_arguments()), halt().' \
    -extra "${names[@]}" >"$WORK/ejabberd" 2>>"$WORK/log"
python3 "$WORK/hashes.py" "${names[@]}" >"$WORK/slixmpp" 2>>"$WORK/log"
node "$WORK/hashes.mjs" "${names[@]}" >"$WORK/stanza.js" 2>>"$WORK/log"

for line in "${!names[@]}"; do
    hashes=()
    for library in Prosody ejabberd slixmpp stanza.js; do
        hashes+=("$library $(sed -n "$((line + 1))s/^\(.\{6\}\).*/\1/p" "$WORK/$library")")
    done
    (IFS=,; echo "${names[line]}: ${hashes[*]}" | sed 's/,/, /g')
done | as_described
