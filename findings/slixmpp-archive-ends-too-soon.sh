#!/usr/bin/env bash
# Read backwards, an archive ends for slixmpp after its newest page; forwards, where a message has expired meanwhile. Neither is an error.
#
# Version: slixmpp 1.17.0 (PyPI), with a server of a few lines in the same process.
# Guess: xep_0313.iterate() gives the whole archive, with reverse=True the newest first; if the last message of a page is gone when the next
#   is asked for, it goes on or raises an error.
# Behaviour: a page whose index and number add up to <count/> is taken for the last one. Backwards that is the first, which the
#   newest messages are on; only from a server that leaves out the index, which XEP-0059 says it SHOULD give, all come.
#   To the id of a message that has expired the server answers item-not-found, and every error is taken for the end.
# Seen, of 25 messages, ten a page:
# | forwards: 25 of 25, m01 to m25, pages: 3
# | backwards: 10 of 25, m25 to m16, pages: 1
# | backwards, without an index: 25 of 25, m25 to m01, pages: 4
# | forwards, m01 to m12 expire after the first page: 10 of 25, m01 to m10, pages: 2
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - 2>>"$WORK/log" <<'PYTHON' | as_described
import asyncio
from xml.etree import ElementTree

from slixmpp import ClientXMPP

RSM, MAM = "{http://jabber.org/protocol/rsm}", "{urn:xmpp:mam:2}"


class Archive:
    """Answers queries of the archive (XEP-0313) in pages (XEP-0059)."""

    def __init__(self, client, with_index, expiring):
        self.client, self.with_index, self.expiring = client, with_index, expiring
        self.ids = [f"m{n:02}" for n in range(1, 26)]
        self.asked = 0

    def answer(self, stanza, *_, **__):
        iq = ElementTree.fromstring(str(stanza))
        query = iq.find(MAM + "query")
        asked = query.find(RSM + "set")
        most, before, after = (asked.findtext(RSM + name) for name in ("max", "before", "after"))
        self.asked += 1
        if self.asked == 2:
            del self.ids[:self.expiring]
        if (before or after or self.ids[0]) not in self.ids:
            self.reply(iq, "error", '<error type="cancel"><item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error>')
            return
        if before is None:
            first = self.ids.index(after) + 1 if after else 0
            page = self.ids[first:first + int(most)]
        else:
            end = self.ids.index(before) if before else len(self.ids)
            first = max(0, end - int(most))
            page = self.ids[first:end]
        for id in page:
            self.feed(
                f'<message from="alice@localhost"><result xmlns="urn:xmpp:mam:2" queryid="{query.get("queryid")}" id="{id}">'
                '<forwarded xmlns="urn:xmpp:forward:0"><delay xmlns="urn:xmpp:delay" stamp="2024-01-01T00:00:00Z"/>'
                '<message xmlns="jabber:client" type="chat" from="bob@localhost/x"><body>words</body></message></forwarded></result></message>')
        index = f' index="{first}"' if self.with_index else ""
        ends = f"<first{index}>{page[0]}</first><last>{page[-1]}</last>" if page else ""
        last = ' complete="true"' if (self.ids[-1:] if before is None else self.ids[:1])[0] in page or not page else ""
        self.reply(iq, "result", f'<fin xmlns="urn:xmpp:mam:2"{last}><set xmlns="http://jabber.org/protocol/rsm">{ends}'
                                 f"<count>{len(self.ids)}</count></set></fin>")

    def reply(self, iq, kind, content):
        self.feed(f'<iq type="{kind}" id="{iq.get("id")}" from="alice@localhost">{content}</iq>')

    def feed(self, text):
        asyncio.get_running_loop().call_soon(self.client.data_received, text.encode())


async def read(name, reverse=False, with_index=True, expiring=0):
    client = ClientXMPP("alice@localhost/x", "unused")
    client.register_plugin("xep_0313")
    client.init_parser()
    archive = Archive(client, with_index, expiring)
    client.send = archive.answer
    client.data_received(b'<stream:stream xmlns="jabber:client" xmlns:stream="http://etherx.jabber.org/streams" version="1.0" id="1">')
    archived = client.plugin["xep_0313"].iterate(reverse=reverse, rsm={"max": 10})
    ids = [message["mam_result"]["id"] async for message in archived]
    print(f"{name}: {len(ids)} of 25, {ids[0]} to {ids[-1]}, pages: {archive.asked}")


async def main():
    await read("forwards")
    await read("backwards", reverse=True)
    await read("backwards, without an index", reverse=True, with_index=False)
    await read("forwards, m01 to m12 expire after the first page", expiring=12)


asyncio.run(main())
PYTHON
