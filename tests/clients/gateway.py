"""biboumi between a user of the server and an IRC network, both on this machine: what goes through it, and who keeps the words."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from typing import Optional

from apps import inside, package_version
from peer import Peer
from scenes import MARKABLE, RECEIPT, timer
from stage import Stage, seen_within, until

SUITES = ("bookworm", "trixie")
# No name is looked up, and nobody is asked who they are.
IRC = """[Global]
Name = irc.example.org
Info = A network of one
Listen = 127.0.0.1
Ports = 6667
[Options]
DNS = no
Ident = no
PAM = no
"""
GONE = 8


class Irc:
    """Somebody on IRC, in the channel."""

    def __init__(self, nick: str, channel: str):
        self.text = ""
        self.socket = until("ngircd", 20, self.connect)
        threading.Thread(target=self.listen, daemon=True).start()
        self.raw(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}")
        until("the network to welcome her", 20, lambda: " 001 " in self.text)
        self.raw(f"JOIN {channel}")
        until("the channel", 20, lambda: " 366 " in self.text)

    @staticmethod
    def connect() -> Optional[socket.socket]:
        try:
            return socket.create_connection(("127.0.0.1", 6667))
        except OSError:
            return None

    def raw(self, text: str) -> None:
        self.socket.sendall(f"{text}\r\n".encode())

    def listen(self) -> None:
        try:
            while data := self.socket.recv(65536):
                self.text += data.decode(errors="replace")
                if data.startswith(b"PING"):
                    self.raw(data.decode().replace("PING", "PONG", 1).strip())
        except OSError:
            pass


class Gateway:
    """All that runs for one suite's biboumi."""

    def __init__(self, stage: Stage, suite: str, folder: str):
        self.stage, self.suite, self.home = stage, suite, os.path.join(folder, f"gateway{suite[:2]}")
        shutil.rmtree(self.home, ignore_errors=True)
        os.makedirs(self.home)
        self.domain = stage.at["component"]
        host, port = stage.at["components"].rsplit(":", 1)
        config = {
            "hostname": self.domain, "password": stage.at["secret"], "xmpp_server_ip": host, "port": port,
            "db_name": "/tmp/home/biboumi.sqlite", "log_level": "1", "log_file": "/tmp/home/biboumi.log", "identd_port": "0",
        }
        self.write("biboumi.cfg", "".join(f"{key}={value}\n" for key, value in config.items()))
        self.write("ngircd.conf", IRC)
        self.running = [self.start(["ngircd", "--nodaemon", "--config", "/tmp/home/ngircd.conf"])]
        self.ann = Irc("ann", "#den")
        self.running.append(self.start(["biboumi", "/tmp/home/biboumi.cfg"]))
        self.user = f"carl{suite[:2]}"
        stage.tell(f"register {self.user}")
        self.carl = self.log_in()

    def write(self, name: str, text: str) -> None:
        with open(os.path.join(self.home, name), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self, line: list[str]) -> subprocess.Popen:
        with open(os.path.join(self.home, "log"), "ab") as log:
            return subprocess.Popen(inside(self.suite, self.home, line), stdout=log, stderr=log, start_new_session=True)

    def log_in(self, resource: str = "peer") -> Peer:
        return Peer(self.stage.address(), self.stage.at["domain"], self.user, self.stage.at["password"], resource=resource)

    def enter(self, peer: Peer, room: str) -> bool:
        """Asks again until the gateway has connected to both sides."""
        mark = len(peer.got)
        peer.raw(f"<presence to='{room}/{self.user}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        inside_it = lambda it: it.tag.endswith("presence") and it.get("from") == f"{room}/{self.user}" and it.get("type") is None
        return bool(seen_within(5, lambda: any(inside_it(it) for _, it in peer.got[mark:])))

    def close(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def jid(self, name: str) -> str:
        return f"{name}%127.0.0.1@{self.domain}"

    def keeps(self, word: str) -> int:
        """In how many rows of its own archive the word is."""
        path = os.path.join(self.home, "biboumi.sqlite")
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            (table,) = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'muclogline%'").fetchone()
            return database.execute(f"SELECT count(*) FROM {table} WHERE body_ LIKE '%{word}%'").fetchone()[0]

    def logged(self, word: str) -> bool:
        with open(os.path.join(self.home, "biboumi.log"), encoding="utf-8", errors="replace") as file:
            return word in file.read()

    def came(self, peer: Peer, word: str, mark: int = 0) -> int:
        """How many messages with the word the peer got since the mark."""
        body = lambda it: any(word in (e.text or "") for e in it.iter("{jabber:client}body"))
        return sum(body(it) for _, it in peer.got[mark:])

    def channel(self) -> dict:
        """A message with a timer of one second, to a channel; later its user asks for history, and joins on another device."""
        room = self.jid("#den")
        until("the channel", 30, lambda: self.enter(self.carl, room))
        time.sleep(1)
        self.carl.say(room, "apple01", timer(1) + MARKABLE, kind="groupchat")
        seen = {"arrives": bool(seen_within(8, lambda: "apple01" in self.ann.text))}
        self.ann.raw("PRIVMSG #den :banana01")
        seen["comes"] = bool(seen_within(8, lambda: self.came(self.carl, "banana01")))
        time.sleep(GONE)
        owners = (self.user, self.carl.jid, room, room.split("@")[0])
        seen["server_keeps"] = sum(len(self.stage.rows(owner, "apple01")) for owner in owners)
        seen["gateway_keeps"] = self.keeps("apple01")
        mark = len(self.carl.got)
        self.carl.ask("<query xmlns='urn:xmpp:mam:2' queryid='all'/>", to=room)
        seen["archive_answers"] = self.came(self.carl, "apple01", mark)
        other = self.log_in("other")
        self.enter(other, room)
        seen["joins_again"] = bool(seen_within(6, lambda: self.came(other, "apple01")))
        other.close()
        seen["logs"] = self.logged("apple01")
        return seen

    def private(self) -> dict:
        """The same to one person, and what comes back."""
        ann = self.jid("ann")
        mark = len(self.carl.got)
        ident = self.carl.say(ann, "cherry01", timer(5) + MARKABLE + RECEIPT)
        seen = {"arrives": bool(seen_within(8, lambda: "cherry01" in self.ann.text))}
        seen["archived"] = bool(self.stage.rows(self.user, "cherry01")) or bool(seen_within(3, lambda: self.stage.rows(self.user, "cherry01")))
        seen["went"] = bool(seen_within(20, lambda: not self.stage.rows(self.user, "cherry01")))
        answers = [it for _, it in self.carl.got[mark:] if it.tag.endswith("message")]
        space = lambda it: {child.tag.rpartition("}")[0][1:] for child in it}
        seen["receipt"] = any("urn:xmpp:receipts" in space(it) for it in answers)
        seen["marker"] = any("urn:xmpp:chat-markers:0" in space(it) for it in answers)
        seen["gateway_keeps"] = self.keeps("cherry01")
        before = self.ann.text
        self.carl.say(ann, "cherry02", f"<replace xmlns='urn:xmpp:message-correct:0' id='{ident}'/>")
        seen["correction"] = bool(seen_within(8, lambda: "cherry02" in self.ann.text[len(before):]))
        before = self.ann.text
        self.carl.raw(f"<message to='{ann}' type='chat' id='d1'><displayed xmlns='urn:xmpp:chat-markers:0' id='x'/></message>")
        time.sleep(3)
        seen["marker_shown"] = bool(re.search(r"PRIVMSG", self.ann.text[len(before):]))
        mark = len(self.carl.got)
        self.ann.raw(f"PRIVMSG {self.user} :damson01")
        seen["comes"] = bool(seen_within(8, lambda: self.came(self.carl, "damson01", mark)))
        come = [it for _, it in self.carl.got[mark:] if self.came_in(it, "damson01")]
        names = lambda it: sorted(child.tag.rpartition("}")[2] for child in it)
        seen["comes_with"] = names(come[0]) if come else []
        seen["comes_archived"] = bool(self.stage.rows(self.user, "damson01"))
        return seen

    @staticmethod
    def came_in(message, word: str) -> bool:
        return any(word in (e.text or "") for e in message.iter("{jabber:client}body"))


def play(stage: Stage, suite: str, folder: str) -> dict:
    """A message with a timer, both ways of addressing it."""
    stage.daemon(timers__start="archived", erase__mode="delete")
    gateway = Gateway(stage, suite, folder)
    try:
        seen = {}
        for scene in ("channel", "private"):
            try:
                seen[scene] = getattr(gateway, scene)()
            except Exception as error:  # pylint: disable=broad-except # A failure is a result, too.
                seen[scene] = {"failed": f"{type(error).__name__}: {error}"[:300]}
    finally:
        gateway.close()
    return {"client": "biboumi", "version": package_version(suite, "biboumi"), "suite": suite, "library": "", "scenes": seen}
