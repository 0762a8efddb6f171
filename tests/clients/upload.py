"""A place for files, as a server offers it (XEP-0363): a component of the stage's server, and a web server that has a certificate.

It keeps what was put, answers 410 for whatever it does not have, and says who asked.
"""

import hashlib
import http.server
import socket
import ssl
import threading
from xml.etree import ElementTree

SPACE = "urn:xmpp:http:upload:0"
IDENTITY = "<identity category='store' type='file' name='Files'/>"
FORM = (
    "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>"
    "<field var='max-file-size'><value>1000000</value></field></x>"
)


class Files(http.server.BaseHTTPRequestHandler):
    """What was put, by path."""

    kept: dict[str, bytes] = {}
    asked: list[str] = []

    def do_PUT(self) -> None:  # pylint: disable=invalid-name # The library's name.
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, b"")

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        self.asked.append(self.command)
        data = self.kept.get(self.path)
        self.answer(410 if data is None else 200, data or b"")

    do_HEAD = do_GET

    def answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_) -> None:  # pylint: disable=arguments-differ
        pass


class Upload:
    """Both, until `close`."""

    def __init__(self, at: dict, tls: ssl.SSLContext):
        self.jid, self.domain, self.count = at["component"], at["domain"], 0
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
        self.web.socket = tls.wrap_socket(self.web.socket, server_side=True)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        host, port = at["components"].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.parser, self.depth = ElementTree.XMLPullParser(("start", "end")), 0
        self.raw(
            f"<?xml version='1.0'?><stream:stream to='{self.jid}' xmlns='jabber:component:accept'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        stream = self.header()
        proof = hashlib.sha1((stream.get("id", "") + at["secret"]).encode()).hexdigest()
        self.raw(f"<handshake>{proof}</handshake>")
        threading.Thread(target=self.listen, daemon=True).start()

    def raw(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def header(self) -> ElementTree.Element:
        while True:
            self.parser.feed(self.socket.recv(65536))
            for _, element in self.parser.read_events():
                self.depth += 1
                return element

    def listen(self) -> None:
        try:
            while data := self.socket.recv(65536):
                self.parser.feed(data)
                for event, element in self.parser.read_events():
                    self.depth += 1 if event == "start" else -1
                    if event == "end" and self.depth == 1 and element.tag.endswith("iq"):
                        self.answer(element)
        except (OSError, ElementTree.ParseError):
            pass

    def answer(self, iq: ElementTree.Element) -> None:
        if iq.get("type") not in ("get", "set"):
            return
        child = next(iter(iq), None)
        space, _, name = (child.tag if child is not None else "}").rpartition("}")
        if name == "request" and space == "{" + SPACE:
            self.count += 1
            url = f"https://{self.domain}:{self.web.server_port}/{self.count}/{child.get('filename')}"
            payload = f"<slot xmlns='{SPACE}'><put url='{url}'/><get url='{url}'/></slot>"
        elif space == "{http://jabber.org/protocol/disco#info":
            payload = f"<query xmlns='{space[1:]}'>{IDENTITY}<feature var='{SPACE}'/>{FORM}</query>"
        elif space == "{http://jabber.org/protocol/disco#items":
            payload = f"<query xmlns='{space[1:]}'/>"
        else:
            return self.raw(
                f"<iq type='error' id='{iq.get('id')}' from='{self.jid}' to='{iq.get('from')}'><error type='cancel'>"
                "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            )
        return self.raw(f"<iq type='result' id='{iq.get('id')}' from='{self.jid}' to='{iq.get('from')}'>{payload}</iq>")

    def close(self) -> None:
        self.web.shutdown()
        self.web.server_close()
        self.socket.close()
