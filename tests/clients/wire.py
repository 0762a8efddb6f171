"""A relay between a client and the server that keeps every stanza as it was written, in both directions.

To clients that insist on TLS it offers STARTTLS itself and decrypts, so that captures are always in clear.
"""

import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Iterator, Optional
from xml.etree import ElementTree
from xml.parsers import expat

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    " id='relay' from='{domain}' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'>"
    "<required/></starttls></stream:features>"
)
ROOT = (
    "<r xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    " xmlns:xml='http://www.w3.org/XML/1998/namespace'>"
)


@dataclass
class Stanza:
    """One child of the stream."""

    time: float
    sent: bool  # by the client
    text: str
    element: ElementTree.Element = field(init=False)

    def __post_init__(self) -> None:
        self.element = ElementTree.fromstring(ROOT + self.text + "</r>")[0]

    @property
    def name(self) -> str:
        return self.element.tag.rpartition("}")[2]


def own_tls(folder: str, domain: str) -> ssl.SSLContext:
    """A certificate of its own, in `folder/ca.pem`, and what serves it."""
    certificate, key = f"{folder}/ca.pem", f"{folder}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={domain}", "-addext",
         f"subjectAltName=DNS:{domain}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class Splitter:
    """Cuts a stream into its children. It starts again at each XML declaration or stream header."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.bytes, self.depth, self.begun, self.found = b"", 0, 0, []

    def start(self, _name: str, _attributes: dict) -> None:
        if self.depth == 1:
            self.begun = self.parser.CurrentByteIndex
        self.depth += 1

    def end(self, _name: str) -> None:
        self.depth -= 1
        if self.depth != 1:
            return
        at = self.parser.CurrentByteIndex
        if self.bytes[at : at + 2] == b"</":
            at = self.bytes.index(b">", at) + 1
        elif self.bytes[at - 1 : at] != b">":
            at = self.bytes.index(b"/>", at) + 2
        self.found.append(self.bytes[self.begun : at].decode())

    def feed(self, data: bytes) -> Iterator[str]:
        head = data.lstrip()
        if self.bytes and (head.startswith(b"<?xml") or head.startswith(b"<stream:stream")):
            self.reset()
        self.bytes += data
        try:
            self.parser.Parse(data, False)
        except expat.ExpatError:
            pass
        found, self.found = self.found, []
        yield from found


class Wire:
    """Listens on a port of its own for one client, as often as it connects."""

    def __init__(self, server: tuple[str, int], domain: str, tls: Optional[ssl.SSLContext] = None, port: int = 0):
        self.server, self.domain, self.tls = server, domain, tls
        self.stanzas: list[Stanza] = []
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self) -> None:
        # Closing alone would leave the port to the thread that waits on it.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        try:
            if self.tls:
                client = self.start_tls(client)
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            return
        for source, target, sent in ((client, server, True), (server, client, False)):
            threading.Thread(target=self.relay, args=(source, target, sent), daemon=True).start()

    def start_tls(self, client: socket.socket) -> socket.socket:
        if client.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS from the first byte on
            return self.tls.wrap_socket(client, server_side=True)
        client.recv(65536)
        client.sendall(HEADER.format(domain=self.domain).encode())
        if b"starttls" not in client.recv(65536):
            raise OSError("the client does not want TLS")
        client.sendall(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        return self.tls.wrap_socket(client, server_side=True)

    def relay(self, source: socket.socket, target: socket.socket, sent: bool) -> None:
        splitter = Splitter()
        try:
            while data := source.recv(65536):
                for text in splitter.feed(data):
                    try:
                        self.stanzas.append(Stanza(time.time(), sent, text))
                    except ElementTree.ParseError:
                        pass
                target.sendall(data)
        except (OSError, ValueError):
            pass
        for it in (source, target):
            try:
                it.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def since(self, mark: int, sent: bool, name: str = "") -> list[Stanza]:
        """What went that way after the mark, a number of stanzas."""
        return [it for it in self.stanzas[mark:] if it.sent == sent and name in ("", it.name)]
