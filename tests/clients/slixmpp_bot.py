"""A bot of slixmpp's own plugins, as a bot's author would write it: it prints what is said, and marks it as displayed.

slixmpp_bot.py JID PASSWORD PORT: a line on its standard input is a word and its argument: chat JID, join ROOM, say TEXT, quit.
"""

import asyncio
import sys

import slixmpp


class Bot(slixmpp.ClientXMPP):
    """Receipts by xep_0184's own answer, markers by xep_0333, the archive not at all."""

    def __init__(self, jid: str, password: str):
        super().__init__(jid, password)
        for plugin in ("xep_0030", "xep_0045", "xep_0184", "xep_0198", "xep_0199", "xep_0280", "xep_0308", "xep_0333", "xep_0359", "xep_0490"):
            self.register_plugin(plugin)
        self.plugin["feature_mechanisms"].unencrypted_scram = True
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("message", self.message)
        self.other, self.kind, self.last = None, "chat", None

    async def begin(self, _event) -> None:
        self.send_presence()
        await self.get_roster()
        print("online", flush=True)

    def message(self, message) -> None:
        if not message["body"]:
            return
        print(message["body"], flush=True)
        if message["type"] == "chat" and message["id"]:
            self.plugin["xep_0333"].send_marker(mto=message["from"].bare, id=message["id"], marker="displayed")
            self.plugin["xep_0490"].flag_chat(message["from"].bare, message["stanza_id"]["id"])

    def obey(self, line: str) -> None:
        word, _, text = line.strip().partition(" ")
        if word == "chat":
            self.other, self.kind = text, "chat"
        elif word == "join":
            self.other, self.kind = text, "groupchat"
            self.plugin["xep_0045"].join_muc(text, self.boundjid.user)
        elif word == "say":
            self.last = self.make_message(mto=self.other, mbody=text, mtype=self.kind)
            self.last.send()
        elif word == "quit":
            self.disconnect()


async def main() -> None:
    jid, password, port = sys.argv[1:]
    bot = Bot(jid, password)
    bot.enable_direct_tls = bot.enable_starttls = False
    bot.enable_plaintext = True
    bot.connect("127.0.0.1", int(port))
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: bot.obey(sys.stdin.readline()))
    await bot.disconnected


asyncio.run(main())
