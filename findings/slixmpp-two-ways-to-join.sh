#!/usr/bin/env bash
# slixmpp's older way to join a room asks for nine characters of its history, the newer one for all of it.
#
# Version: slixmpp 1.17.0.
# Guess: `join_muc` and `join_muc_wait` differ in what they return; both leave the amount of history to the room.
# Behaviour: `join_muc` asks for at most nine characters (`maxchars='9'`, from its parameter `maxhistory='0'`) unless told
#   otherwise, in which no message fits, so a bot that comes back sees nothing of what was said meanwhile; `join_muc_wait`
#   sets no limit and gets the room's default, of some 20 messages, so that the same bot handles old ones as if they were new.
# Seen, the extension of the presence that each sends:
# | join_muc: <x xmlns="http://jabber.org/protocol/muc"><history maxchars="9" /></x>
# | join_muc_wait: <x xmlns="http://jabber.org/protocol/muc" />
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - 2>>"$WORK/log" <<'PY' | as_described
import asyncio
from xml.etree import ElementTree

import slixmpp


async def main():
    client = slixmpp.ClientXMPP("alice@localhost", "secret")
    client.register_plugin("xep_0045")
    sent = []
    client.send = lambda stanza, *_, **__: sent.append(stanza)
    client.send_raw = lambda text: sent.append(text)
    room = slixmpp.JID("den@conference.localhost")
    rooms = client.plugin["xep_0045"]
    for name, join in (("join_muc", rooms.join_muc), ("join_muc_wait", rooms.join_muc_wait)):
        task = asyncio.ensure_future(join(room, "alice"))
        await asyncio.sleep(0.2)
        task.cancel()
        presence = ElementTree.fromstring(str(sent.pop()))
        x = next(it for it in presence if it.tag.endswith("}x"))
        ElementTree.register_namespace("", "http://jabber.org/protocol/muc")
        print(f"{name}:", ElementTree.tostring(x, "unicode"))


asyncio.run(main())
PY
