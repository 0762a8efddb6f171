"""The other side of each chat: a bare client that says exactly what a scene wants to be said."""

import base64
import socket
import threading
import time
from xml.etree import ElementTree

from stage import until


class Peer:
    """Logged in without TLS, and available."""

    def __init__(self, address: tuple[str, int], domain: str, user: str, password: str, available: bool = True, resource: str = "peer"):
        self.arguments = (address, domain, user, password, available, resource)
        self.jid = f"{user}@{domain}"
        self.domain, self.got, self.count = domain, [], 0
        self.socket = socket.create_connection(address)
        self.open()
        plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.raw(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>")
        self.read_until("success")
        self.open()
        threading.Thread(target=self.listen, daemon=True).start()
        self.ask(f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>")
        if available:
            self.raw("<presence/>")
            self.sync()

    def again(self) -> None:
        """A new connection, after the server was restarted."""
        self.socket.close()
        self.__init__(*self.arguments)

    def raw(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def open(self) -> None:
        self.parser = ElementTree.XMLPullParser(("start", "end"))
        self.depth = 0
        self.raw(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
        )
        self.read_until("features")

    def children(self):
        for event, element in self.parser.read_events():
            self.depth += 1 if event == "start" else -1
            if event == "end" and self.depth == 1:
                yield element

    def read_until(self, name: str) -> None:
        while True:
            for element in self.children():
                if element.tag.endswith(name):
                    return
                if element.tag.endswith("failure"):
                    raise RuntimeError(f"{self.jid} may not log in")
            self.parser.feed(self.socket.recv(65536))

    def listen(self) -> None:
        try:
            while data := self.socket.recv(65536):
                self.parser.feed(data)
                self.got.extend((time.time(), it) for it in self.children())
        except (OSError, ElementTree.ParseError):
            pass

    def close(self) -> None:
        self.raw("</stream:stream>")
        self.socket.close()

    def ask(self, payload: str, to: str = "", kind: str = "set"):
        self.count += 1
        ident = f"q{self.count}"
        to = f" to='{to}'" if to else ""
        self.raw(f"<iq type='{kind}' id='{ident}'{to}>{payload}</iq>")
        # In a list, because an element without children counts as false.
        answer = lambda: [it for _, it in self.got if it.get("id") == ident and it.tag.endswith("iq")]
        return until("an answer", 20, answer)[0]

    def sync(self) -> None:
        """The server has handled everything that was sent before."""
        self.ask("<ping xmlns='urn:xmpp:ping'/>", to=self.domain, kind="get")

    def say(self, to: str, body: str, more: str = "", ident: str = "", kind: str = "chat") -> str:
        self.count += 1
        ident = ident or f"m{self.count}-{int(time.time())}"
        self.raw(f"<message to='{to}' type='{kind}' id='{ident}'><body>{body}</body>{more}</message>")
        self.sync()
        return ident

    def befriend(self, other: "Peer") -> None:
        """Both see the other's presence from now on."""
        for one, two in ((self, other), (other, self)):
            one.ask(f"<query xmlns='jabber:iq:roster'><item jid='{two.jid}'/></query>")
            one.raw(f"<presence to='{two.jid}' type='subscribe'/>")
            one.sync()
        for one, two in ((self, other), (other, self)):
            one.raw(f"<presence to='{two.jid}' type='subscribed'/>")
            one.sync()

    def join(self, room: str) -> None:
        self.raw(f"<presence to='{room}/{self.jid.split('@')[0]}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        own = lambda: any(it.get("from", "").startswith(room) and it.tag.endswith("presence") for _, it in self.got)
        until("the room", 20, own)
        self.ask(
            "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room
        )

    def admit(self, room: str, member: str) -> None:
        """Makes its room one for members only, who see each other's addresses, and this one a member."""
        field = lambda name, value: f"<field var='{name}'><value>{value}</value></field>"
        form = field("FORM_TYPE", "http://jabber.org/protocol/muc#roomconfig")
        form += field("muc#roomconfig_membersonly", "1") + field("muc#roomconfig_whois", "anyone") + field("muc#roomconfig_persistentroom", "1")
        self.ask(f"<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>{form}</x></query>", to=room)
        self.ask(f"<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='{member}'/></query>", to=room)

    def bookmark(self, room: str) -> None:
        """In the two places where clients look, the newer one (XEP-0402) and the older one (XEP-0048)."""
        nick = self.jid.split("@")[0]
        new = f"<conference xmlns='urn:xmpp:bookmarks:1' name='den' autojoin='true'><nick>{nick}</nick></conference>"
        old = f"<conference jid='{room}' name='den' autojoin='true'><nick>{nick}</nick></conference>"
        old = f"<storage xmlns='storage:bookmarks'>{old}</storage>"
        field = lambda name, value: f"<field var='{name}'><value>{value}</value></field>"
        options = field("FORM_TYPE", "http://jabber.org/protocol/pubsub#publish-options")
        options += field("pubsub#persist_items", "true") + field("pubsub#access_model", "whitelist")
        options = f"<publish-options><x xmlns='jabber:x:data' type='submit'>{options}</x></publish-options>"
        for node, ident, item in (("storage:bookmarks", "current", old), ("urn:xmpp:bookmarks:1", room, new)):
            publish = f"<publish node='{node}'><item id='{ident}'>{item}</item></publish>{options}"
            self.ask(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>")
        # Where a server cannot convert between these, some apps look only here (XEP-0049).
        self.ask(f"<query xmlns='jabber:iq:private'>{old}</query>")

    def publish_device(self, device: str, bundle: str) -> None:
        """One OMEMO device (XEP-0384), for whoever may see the presence."""
        space = "eu.siacs.conversations.axolotl"
        devices = f"<list xmlns='{space}'><device id='{device}'/></list>" if device else f"<list xmlns='{space}'/>"
        items = {f"{space}.devicelist": devices, f"{space}.bundles:{device}": bundle}
        for node, item in items.items():
            if item:
                publish = f"<publish node='{node}'><item id='current'>{item}</item></publish>"
                self.ask(f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>")
