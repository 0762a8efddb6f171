#!/usr/bin/env bash
# slixmpp publishes what was displayed without saying whose archive the id is from.
#
# Version: slixmpp 1.17.0.
# Guess: `flag_chat` of its plugin for message displayed synchronization writes the item of XEP-0490, whose `<stanza-id/>` has a
#   `by`, as XEP-0359 demands: the account's own address in a chat, the room's in a room.
# Behaviour: the element has an id and no `by`. A reader that compares `by` with the owner, to tell a chat's id from a room's,
#   finds nothing in such an item; whoever wants to be read must set it, by building the item by hand.
# Seen, the item that it publishes:
# | <item id="bob@localhost"><displayed><stanza-id id="1795918895" /></displayed></item>
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - 2>>"$WORK/log" <<'PY' | as_described
import asyncio
import re

import slixmpp


async def main():
    client = slixmpp.ClientXMPP("alice@localhost", "secret")
    client.register_plugin("xep_0490")
    sent = []
    client.send = lambda stanza, *_, **__: sent.append(stanza)
    task = asyncio.ensure_future(client.plugin["xep_0490"].flag_chat("bob@localhost", "1795918895"))
    await asyncio.sleep(0.2)
    task.cancel()
    item = re.search("<item .*</item>", str(sent[0]))[0]
    print(re.sub(" xmlns=\"[^\"]*\"", "", item))


asyncio.run(main())
PY
