#!/usr/bin/env bash
# slixmpp writes a received stanza without its namespaced attributes.
#
# Version: slixmpp 1.17.0.
# Guess: an element that slixmpp does not know comes back out as it went in, attributes of other namespaces included,
#   as elements of other namespaces do.
# Behaviour: the attribute is in the parsed tree and is dropped when the stanza becomes text; only xml:lang is kept.
#   Nothing is logged. A bot that forwards or stores str(stanza) loses it.
# Seen:
# | in the tree: {urn:q}n = 1
# | <message xmlns="jabber:client"><x xmlns="urn:a" plain="2" /><y xmlns="urn:q" /></message>
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - <<'PY' | as_described
from xml.etree import ElementTree
from slixmpp.stanza import Message

TEXT = """<message xmlns='jabber:client' xmlns:q='urn:q'><x xmlns='urn:a' plain='2' q:n='1'/><q:y q:n='1'/></message>"""
message = Message(xml=ElementTree.fromstring(TEXT))
print("in the tree: {urn:q}n =", message.xml[0].attrib["{urn:q}n"])
print(message)
PY
