#!/usr/bin/env bash
# slixmpp shows the words that stand in for a reply if they are all that the body has.
#
# Version: slixmpp 1.17.0 (PyPI).
# Guess: a fallback whose <body/> has neither start nor end means the whole body (XEP-0428), so nothing is left of it without the fallback.
# Behaviour: strip_fallback_content() leaves all of it, and get_fallback_body() says that none of it is fallback. With a range it is as
#   expected, whatever other fallbacks stand before it.
# Seen, what is left of "> a quote\nown words", and what is fallback:
# | a range: 'own words', '> a quote\n'
# | a range, behind another one: 'own words', '> a quote\n'
# | all of it: '> a quote\nown words', ''
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

cat >"$WORK/fallback.py" <<'PY'
from xml.etree import ElementTree

from slixmpp import ClientXMPP, Message

client = ClientXMPP("peter@example.org", "not used")
client.register_plugin("xep_0461")


def fallback(of, body):
    return f"<fallback xmlns='urn:xmpp:fallback:0' for='{of}'>{body}</fallback>"


reply, span = "urn:xmpp:reply:0", "<body start='0' end='10'/>"
for name, fallbacks in {
    "a range": fallback(reply, span),
    "a range, behind another one": fallback("urn:example:other", "<body start='2' end='4'/>") + fallback(reply, span),
    "all of it": fallback(reply, "<body/>"),
}.items():
    message = Message(xml=ElementTree.fromstring(
        "<message xmlns='jabber:client' type='chat' from='rosa@example.org/x' to='peter@example.org'><body>&gt; a quote\nown words</body>"
        f"<reply xmlns='urn:xmpp:reply:0' to='peter@example.org/y' id='1'/>{fallbacks}</message>"))
    it = message["reply"]
    print(f"{name}: {it.strip_fallback_content()!r}, {it.get_fallback_body()!r}")
PY
python3 "$WORK/fallback.py" 2>>"$WORK/log" | as_described
