"""A bot of nbxmpp's own modules, as a bot's author would write it: it reads its archive, prints what is said, and marks it as displayed.

nbxmpp_bot.py JID PASSWORD PORT: it obeys the same lines as slixmpp_bot.py. The last archive id that it knows is in the file `last`.
"""

import os
import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import GLib
from nbxmpp.client import Client
from nbxmpp.const import ConnectionProtocol, ConnectionType
from nbxmpp.errors import is_error
from nbxmpp.modules.receipts import build_receipt
from nbxmpp.protocol import JID, Message, Presence
from nbxmpp.structs import StanzaHandler
from nbxmpp.util import generate_id

LAST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "last")


class Bot:
    """nbxmpp parses what comes; to answer is left to its user."""

    def __init__(self, jid: str, password: str, port: str):
        self.jid, self.other, self.kind = JID.from_string(jid), None, "chat"
        self.loop = GLib.MainLoop()
        self.client = Client(log_context="bot")
        self.client.set_domain(self.jid.domain)
        self.client.set_username(self.jid.localpart)
        self.client.set_password(password)
        self.client.set_resource("app")
        self.client.set_custom_host(f"127.0.0.1:{port}", ConnectionProtocol.TCP, ConnectionType.PLAIN)
        self.client.set_connection_types([ConnectionType.PLAIN])
        self.client.subscribe("connected", self.begin)
        self.client.subscribe("disconnected", lambda *_: self.loop.quit())
        self.client.register_handler(StanzaHandler(name="message", callback=self.message, priority=100))
        self.client.connect()

    def begin(self, *_) -> None:
        print("online", flush=True)
        self.client.send_stanza(Presence())
        self.read_archive()

    def read_archive(self) -> None:
        """From the last known id on; without one, nothing."""
        if not os.path.exists(LAST):
            return
        with open(LAST, encoding="utf-8") as file:
            last = file.read().strip()
        self.client.get_module("MAM").make_query(self.jid, queryid=generate_id(), after=last, callback=self.caught_up)

    def caught_up(self, task) -> None:
        try:
            result = task.finish()
        except Exception as error:  # pylint: disable=broad-except # Whatever it is, it is told.
            result = error
        print(f"archive: {result}" if is_error(result) or isinstance(result, Exception) else "archive: read", flush=True)

    def message(self, _client, stanza, properties) -> None:
        ident = properties.mam.id if properties.mam else next((it.id for it in properties.stanza_ids), None)
        if ident:
            with open(LAST, "w", encoding="utf-8") as file:
                file.write(ident)
        if not properties.body or properties.is_sent_carbon:
            return
        print(properties.body, flush=True)
        if properties.type.value != "chat" or not properties.jid or properties.from_muc:
            return
        if properties.receipt and properties.receipt.type == "request":
            self.client.send_stanza(build_receipt(stanza))
        marker = Message(to=properties.jid.new_as_bare(), typ="chat")
        marker.setMarker("displayed", properties.id)
        self.client.send_stanza(marker)
        module = None
        try:
            module = self.client.get_module("MDS")
        except Exception:  # pylint: disable=broad-except # Older ones have none.
            pass
        if module and ident:
            module.set_mds(properties.jid.new_as_bare(), ident)

    def obey(self, channel, _condition) -> bool:
        word, _, text = channel.readline().strip().partition(" ")
        if word == "chat":
            self.other, self.kind = text, "chat"
        elif word == "join":
            self.other, self.kind = text, "groupchat"
            presence = Presence(to=f"{text}/{self.jid.localpart}")
            presence.setTag("x", namespace="http://jabber.org/protocol/muc")
            self.client.send_stanza(presence)
        elif word == "say":
            self.client.send_stanza(Message(to=self.other, body=text, typ=self.kind))
        else:
            self.client.disconnect()
        return word not in ("quit", "")


def main() -> None:
    bot = Bot(*sys.argv[1:])
    GLib.io_add_watch(GLib.IOChannel.unix_new(0), GLib.PRIORITY_DEFAULT, GLib.IO_IN, lambda *_: bot.obey(sys.stdin, None))
    bot.loop.run()


main()
