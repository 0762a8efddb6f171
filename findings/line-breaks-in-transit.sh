#!/usr/bin/env bash
# A line break in an attribute, and a carriage return anywhere, do not survive being read, written and read again.
#
# Version: Prosody 0.12.3 (util.xml, util.stanza) and erlang-p1-xml 1.1.49 (ejabberd 23.01's), both Debian 12; ltx 3.1.2 (npm,
#   xmpp.js's).
# Guess: what was written as a character reference, `&#10;` and `&#13;`, is written as one again, since a parser makes
#   spaces of raw line breaks in attributes and `\n` of a raw `\r`.
# Behaviour: Prosody and ltx write both raw: the next reader sees a space in the attribute and a line feed in the text.
#   erlang-p1-xml takes care of attributes and forgets the text. Every hop that parses (a server, an archive) counts.
# Seen, <x a='1&#10;2'>3&#13;4</x>, as Python's parser reads what each one wrote:
# | as sent: a='1\n2' text='3\r4'
# | Prosody: a='1 2' text='3\n4'
# | erlang-p1-xml: a='1\n2' text='3\n4'
# | ltx: a='1 2' text='3\n4'
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 erlang-p1-xml=1.1.49-2
programs python3 lua5.4 erl
node_packages ltx@3.1.2

printf %s "<x xmlns='urn:a' a='1&#10;2'>3&#13;4</x>" >"$WORK/in.xml"

# What a reader makes of standard input.
read_again() {
    printf '%s: ' "$1"
    python3 -c '
import sys, xml.etree.ElementTree as tree
it = tree.fromstring(sys.stdin.buffer.read())
print("a=%r text=%r" % (it.attrib["a"], it.text))'
}

{
    read_again "as sent" <"$WORK/in.xml"
    cd "$WORK"
    lua5.4 -e '
        package.path = "/usr/lib/prosody/?.lua;" .. package.path
        package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath
        io.write(tostring(require "util.xml".parse(io.open("in.xml"):read "a")))' | read_again Prosody
    erl -noshell -eval '
        {ok, Text} = file:read_file("in.xml"),
        Element = fxml_stream:parse_element(Text),
        io:put_chars(fxml:element_to_binary(Element)), halt().' | read_again erlang-p1-xml
    node --input-type=module -e '
        import { readFileSync } from "node:fs";
        import { parse } from "ltx";
        process.stdout.write(parse(readFileSync("in.xml", "utf8")).toString());' | read_again ltx
} | as_described
