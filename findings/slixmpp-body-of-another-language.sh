#!/usr/bin/env bash
# In slixmpp a message has a body, and deleting the body leaves it there.
#
# Version: slixmpp 1.17.0.
# Guess: `del message["body"]` and `message["body"] = ""` take away what `message["body"]` reads, and all translations with it.
# Behaviour: reading falls back to a body of any language; deleting and setting mean only the one that has the stanza's own.
#   A message of a German sender through an English server keeps its words, and a second language's body stays in any case.
#   Whoever blanks messages must delete `{jabber:client}body` from the XML itself.
# Seen, the body read first, and what is left after `del message["body"]`:
# | no language: 'one', then ''
# | German in a German stanza: 'eins', then ''
# | German in an English stanza: 'eins', then 'eins'
# | English and German in an English stanza: 'one', then 'eins'
# | English and German, set to '': <body xml:lang="de">eins</body>
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - 2>>"$WORK/log" <<'PY' | as_described
import asyncio
import re
from xml.etree import ElementTree

import slixmpp

ENGLISH, GERMAN = "<body>one</body>", "<body xml:lang='de'>eins</body>"


async def main():
    client = slixmpp.ClientXMPP("alice@localhost", "secret")
    message = lambda lang, bodies: client.Message(xml=ElementTree.fromstring(f"<message xmlns='jabber:client' {lang}>{bodies}</message>"))

    def delete(name, lang, bodies):
        it = message(lang, bodies)
        read = it["body"]
        del it["body"]
        print(f"{name}: {read!r}, then {it['body']!r}")

    delete("no language", "", ENGLISH)
    delete("German in a German stanza", "xml:lang='de'", "<body>eins</body>")
    delete("German in an English stanza", "xml:lang='en'", GERMAN)
    delete("English and German in an English stanza", "xml:lang='en'", ENGLISH + GERMAN)
    both = message("xml:lang='en'", ENGLISH + GERMAN)
    both["body"] = ""
    print("English and German, set to '':", "".join(re.findall("<body.*</body>", str(both))))


asyncio.run(main())
PY
