"""What happens to each client, one scene after the other, and what it does then."""

import http.server
import os
import shutil
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Sequence

from apps import App, Window, inside
from peer import Peer
from stage import Stage, seen_within, until
from upload import Upload
from wire import Stanza, Wire

MARKABLE = "<markable xmlns='urn:xmpp:chat-markers:0'/>"
RECEIPT = "<request xmlns='urn:xmpp:receipts'/>"
# For a client to catch up and to draw.
SETTLED = 15


def timer(seconds: int) -> str:
    return f"<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='{seconds}'/>"


class Gone(http.server.BaseHTTPRequestHandler):
    """A web server whose files are all gone."""

    asked: list[str] = []

    def do_GET(self) -> None:  # pylint: disable=invalid-name # The library's name.
        self.asked.append(self.command)
        self.send_error(410)

    do_HEAD = do_GET

    def log_message(self, *_) -> None:  # pylint: disable=arguments-differ
        pass


@dataclass
class Play:
    """One client beside one server."""

    stage: Stage
    app: App
    wire: Wire
    peter: Peer
    folder: str
    tls: ssl.SSLContext
    count: int = 0
    seen: dict = field(default_factory=dict)
    bookmarked: list[str] = field(default_factory=list)

    def words(self, number: int) -> list[str]:
        """Words that no other message has, of one line on a small screen."""
        self.count += 1
        return [f"{word}{self.count:02}{self.app.user[:3]}" for word in ("apple", "banana", "cherry", "damson")[:number]]

    def run(self, scenes: list[str]) -> dict:
        """All scenes; one that fails says so in its place."""
        self.app.start()
        time.sleep(3)
        # So that there is a chat to open; without one Gajim has a dialog for it.
        self.peter.say(self.app.jid, "Hello")
        time.sleep(2)
        self.app.chat(self.peter.jid)
        for name in scenes:
            mark = len(self.wire.stanzas)
            try:
                seen = getattr(self, name)()
            except Exception as error:  # pylint: disable=broad-except # A failure is a result, too.
                seen = {"failed": f"{type(error).__name__}: {error}"[:300]}
            if not seen:
                continue
            seen["wire"] = self.catch_up(mark)
            seen["alive"] = self.app.alive()
            self.look(name)
            self.seen[name] = seen
            if not self.app.alive():
                self.app.start()
        self.app.stop()
        return self.seen

    def look(self, name: str) -> None:
        """Keeps the screen."""
        path = os.path.join(self.folder, f"{self.app.user}-{name}")
        if isinstance(self.app, Window):
            self.app.picture(name)
        with open(path + ".txt", "w", encoding="utf-8") as file:
            file.write(self.app.text())

    def catch_up(self, mark: int) -> list[str]:
        """In short, what it asked of archives, what it was answered, and which messages the server handed out late."""
        told: list[str] = []
        asked = {it.element.get("id") for it in self.wire.stanzas[mark:] if it.sent and "urn:xmpp:mam:2" in it.text}
        for it in self.wire.stanzas[mark:]:
            if it.sent and it.name == "iq" and "urn:xmpp:mam:2" in it.text and "<query" in it.text and "disco" not in it.text:
                by = [f.get("var") for f in it.element.iter("{jabber:x:data}field") if f.get("var") not in ("FORM_TYPE", None)]
                by += [e.tag.split("}")[1] for e in it.element.iter() if e.tag.endswith(("}after", "}before"))]
                told.append(f"asks {'the room' if it.element.get('to', '').endswith(self.stage.at['rooms']) else 'its archive'} by {', '.join(by) or 'nothing'}")
            elif not it.sent and it.name == "iq" and it.element.get("type") == "error" and it.element.get("id") in asked:
                told.append("the archive answers " + next((e.tag.split("}")[1] for e in it.element.iter() if "xmpp-stanzas" in e.tag), "error"))
            elif not it.sent and it.name == "message" and "urn:xmpp:delay" in it.text:
                how = "archived" if "urn:xmpp:mam:2" in it.text and "<result" in it.text else "late"
                what = "words" if "<body" in it.text else "expired" if "urn:ephemerd" in it.text else "no words"
                told.append(f"{how} {it.element.get('type') or ''}: {what}".replace(" :", ":"))
        return [f"{told.count(it)} × {it}" for it in dict.fromkeys(told)]

    def shown(self, *words: str) -> dict:
        """How often each of the words is to be seen."""
        text = self.app.text()
        return {word[:-5]: text.count(word) for word in words}

    def gone(self, word: str, owner: str = "") -> None:
        """Until neither an archive nor a queue of the client's has the word."""
        owner = owner or self.app.user
        probe = lambda: not self.stage.rows(owner, word) and not any(word in it[1] for it in self.stage.queued(owner))
        until(f"{word} to go", 30, probe)

    def return_and_look(self, last: str, room: str = "") -> None:
        """It comes back, and catches up."""
        self.app.start()
        time.sleep(2)
        if room:
            self.join(room)
        else:
            self.app.chat(self.peter.jid)
        seen_within(SETTLED, lambda: last in self.app.text())
        time.sleep(2)

    def live(self) -> bool:
        """A message that comes now is shown."""
        (word,) = self.words(1)
        self.peter.say(self.app.jid, word)
        return bool(seen_within(8, lambda: word in self.app.text()))

    def join(self, room: str) -> None:
        """The room in front. Windows get it by a bookmark that joins at the start, instead of by their dialogs."""
        if not isinstance(self.app, Window):
            self.app.join(room)
            return
        if room in self.bookmarked:
            return
        self.bookmarked.append(room)
        self.app.stop()
        own = Peer(self.stage.address(), self.stage.at["domain"], self.app.user, self.stage.at["password"], available=False)
        own.bookmark(room)
        own.close()
        self.app.start()
        time.sleep(6)

    # The scenes, in the order of docs/clients.md.

    def talk(self) -> dict:
        """Words in both directions."""
        mark = len(self.wire.stanzas)
        one, two, three = self.words(3)
        self.peter.say(self.app.jid, one, MARKABLE + RECEIPT)
        time.sleep(3)
        self.app.say(two)
        time.sleep(2)
        self.app.correct(two, three)
        time.sleep(2)
        return {"sends": self.sends(mark)}

    def more(self) -> dict:
        """A reply and a reaction to what Peter said."""
        one, two = self.words(2)
        self.app.chat(self.peter.jid)
        self.peter.say(self.app.jid, one, MARKABLE + RECEIPT)
        seen_within(8, lambda: one in self.app.text())
        time.sleep(2)
        mark = len(self.wire.stanzas)
        can = {"reaction": self.app.react(one)}
        time.sleep(2)
        can["reply"] = self.app.reply(one, two)
        time.sleep(2)
        return {"can": can, "sends": self.sends(mark)}

    def upload(self) -> dict:
        """A picture, where the server has a place for files."""
        shutil.copy(os.path.join(os.path.dirname(__file__), "picture.png"), self.app.home)
        store = Upload(self.stage.at, self.tls)
        try:
            # It looks for the place when it logs in, and for whom to trust when it starts.
            self.app.stop()
            time.sleep(1)
            self.app.start()
            self.app.chat(self.peter.jid)
            time.sleep(3)
            mark = len(self.wire.stanzas)
            can = self.app.upload("picture.png")
            seen_within(15 if can else 0, lambda: any("<body" in it.text for it in self.wire.since(mark, True, "message")))
            time.sleep(2)
            return {"can": {"file": can}, "slots": store.count, "sends": self.sends(mark)}
        finally:
            store.close()

    def omemo(self) -> dict:
        """Words, encrypted for somebody with one device."""
        keys = os.path.join(self.app.home, "keys")
        os.makedirs(keys, exist_ok=True)
        shutil.copy(os.path.join(os.path.dirname(__file__), "omemo_keys.py"), keys)
        line = inside("trixie", keys, ["python3", "/tmp/home/omemo_keys.py"])
        device, bundle = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split("\n")[:2]
        self.peter.publish_device(device, bundle)
        try:
            can = self.app.encrypt(self.peter.jid)
            mark = len(self.wire.stanzas)
            if can:
                self.app.say(self.words(1)[0])
                seen_within(8, lambda: any("<encrypted" in it.text for it in self.wire.since(mark, True, "message")))
                time.sleep(2)
            return {"can": {"OMEMO": can}, "sends": self.sends(mark)}
        finally:
            self.look("omemo")
            self.peter.publish_device("", "")
            self.app.in_clear(self.peter.jid)

    def sends(self, mark: int, room: str = "") -> list[dict]:
        """What it sent since, and whose archive has each, or whether that of a room."""
        found = sends(self.wire, mark)
        for it in found:
            ident = it.pop("id")
            if ident and it["stanza"].startswith("<message"):
                whose = {"room": self.owner(room)} if "groupchat" in it["stanza"] else {"own": self.app.user, "other": "peter"}
                it["archived"] = {who: bool(self.stage.rows(name, ident)) for who, name in whose.items()}
        return found

    def middle(self, mode: str) -> dict:
        one, two, three = self.words(3)
        self.stage.daemon(timers__start="archived", erase__mode=mode)
        self.app.stop()
        self.peter.say(self.app.jid, one)
        self.peter.say(self.app.jid, two, timer(1))
        self.peter.say(self.app.jid, three)
        self.gone(two)
        self.return_and_look(three)
        return {"shown": self.shown(one, two, three), "live": self.live()}

    def placeholder(self) -> dict:
        """A message in the middle of what it missed became a placeholder."""
        return self.middle("placeholder")

    def deleted(self) -> dict:
        """The same, deleted."""
        return self.middle("delete")

    def last_id(self) -> dict:
        """The newest message that it had received was deleted while it was away."""
        one, two, three, four = self.words(4)
        self.stage.daemon(timers__start="archived", erase__mode="delete")
        self.peter.say(self.app.jid, one)
        self.peter.say(self.app.jid, two, timer(4))
        had = bool(seen_within(4, lambda: two in self.app.text()))
        self.app.stop()
        self.peter.say(self.app.jid, three)
        self.gone(two)
        self.peter.say(self.app.jid, four)
        self.return_and_look(four)
        return {"had": had, "shown": self.shown(one, three, four), "live": self.live()}

    def room(self) -> dict:
        """All of a room's last twenty messages expired."""
        (word, late) = self.words(2)
        room = f"den{self.count}{self.app.user}@{self.stage.at['rooms']}"
        self.stage.daemon(timers__start="archived", erase__mode="delete")
        self.peter.join(room)
        self.join(room)
        time.sleep(2)
        for number in range(20):
            self.peter.say(room, f"{word}n{number}", timer(8), kind="groupchat")
        had = bool(seen_within(5, lambda: f"{word}n19" in self.app.text()))
        self.app.stop()
        owner = room if self.stage.server == "ejabberd" else room.split("@")[0]
        until("the room to be empty", 40, lambda: not self.stage.rows(owner, word))
        self.peter.say(room, late, kind="groupchat")
        mark = len(self.wire.stanzas)
        self.return_and_look(late, room)
        again = [it for it in self.wire.since(mark, False, "message") if word in it.text]
        return {"had": had, "handed_again": len(again), "shown": {"new": self.app.text().count(late)}}

    def file(self) -> dict:
        """A file's address answers 410."""
        server = http.server.HTTPServer(("127.0.0.1", 0), Gone)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Gone.asked.clear()
        self.app.chat(self.peter.jid)
        url = f"http://localhost:{server.server_port}/{self.words(1)[0]}.png"
        self.peter.say(self.app.jid, url, f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
        time.sleep(4)
        self.look("file-before")
        live = self.live()
        server.shutdown()
        return {"requests": sorted(set(Gone.asked)), "live": live}

    def queue(self) -> dict:
        """Of three messages that waited for it, the middle one only in the queue, the middle one is blank."""
        one, two, three = self.words(3)
        self.stage.daemon(timers__start="archived", erase__mode="placeholder")
        self.app.stop()
        if isinstance(self.app, Window):
            # It was ended without logging out; its session would hang, and keep what should be in the queue.
            self.stage.tell("restart")
            self.peter.again()
        self.peter.say(self.app.jid, one)
        hint = "<no-permanent-store xmlns='urn:xmpp:hints'/>"
        self.peter.say(self.app.jid, two, timer(1) + hint)
        self.peter.say(self.app.jid, three)
        queued = any(two in it[1] for it in self.stage.queued(self.app.user))
        self.gone(two)
        self.return_and_look(three)
        return {"queued": queued, "shown": self.shown(one, two, three), "live": self.live()}

    def restored(self) -> dict:
        """A row that it had seen was deleted, and came back under the same id by a restore."""
        one, two, three = self.words(3)
        t = self.stage.tables
        self.stage.tell("stop")
        self.peter.say(self.app.jid, one)
        had = bool(seen_within(5, lambda: one in self.app.text()))
        self.app.stop()
        self.stage.sql(f"CREATE TABLE kept AS SELECT * FROM {t.archive} WHERE {t.owner} = '{self.app.user}' AND {t.text} LIKE '%{one}%'")
        self.stage.sql(f"DELETE FROM {t.archive} WHERE {t.number} IN (SELECT {t.number} FROM kept)")
        self.peter.say(self.app.jid, two)
        self.return_and_look(two)
        self.app.stop()
        self.stage.sql(f"INSERT INTO {t.archive} SELECT * FROM kept; DROP TABLE kept")
        self.peter.say(self.app.jid, three)
        self.return_and_look(three)
        return {"had": had, "shown": self.shown(one, two, three), "live": self.live()}

    def reading(self) -> dict:
        """With timers.start = "read", from what the client really sends."""
        return self.read(["mds", "markers", "replies"])

    def mds(self) -> dict:
        """The same, where only MDS counts."""
        return self.read(["mds"])

    def read(self, counts: list[str]) -> dict:
        (word,) = self.words(1)
        self.stage.daemon(timers__start="read", erase__mode="delete", timers__read_evidence=counts)
        self.app.stop()
        ident = self.peter.say(self.app.jid, word, timer(5) + MARKABLE + RECEIPT)
        time.sleep(7)
        return self.until_read(word, self.app.user, lambda: self.return_and_look(word), [ident])

    def first_reader(self) -> dict:
        """In a room for members only, whose timers start at their first reader."""
        return self.read_in_room("first_reader")

    def everyone(self) -> dict:
        """The same, where every member must have read it: but for Peter, who says it, that is the client alone."""
        return self.read_in_room("everyone")

    def read_in_room(self, rule: str) -> dict:
        if not self.app.reads_rooms:
            return {}
        (word, live) = self.words(2)
        room = f"{rule[:3]}{self.count}{self.app.user}@{self.stage.at['rooms']}"
        name = room.split("@")[0]
        self.stage.daemon(rooms__start=rule, timers__start="archived", erase__mode="delete", timers__read_evidence=["mds", "markers", "replies"])
        try:
            self.peter.join(room)
            self.peter.admit(room, self.app.jid)
            self.join(room)
            self.app.show_room(room)
            time.sleep(2)
            self.app.stop()
            self.peter.say(room, word, timer(5) + MARKABLE, kind="groupchat")
            time.sleep(7)
            seen = self.until_read(word, name, lambda: self.return_to_room(word, room))
            mark = len(self.wire.stanzas)
            self.peter.say(room, live, timer(3600) + MARKABLE, kind="groupchat")
            seen_within(8, lambda: live in self.app.text())
            time.sleep(3)
            ids = [row[1] for row in self.stage.rows(self.owner(name), live)]
            return {**seen, "live": sorted({evidence(it.text) for it in self.shows(mark, ids)})}
        finally:
            self.stage.daemon(rooms__start="archived")

    def return_to_room(self, word: str, room: str) -> None:
        self.return_and_look(word, room)
        self.app.show_room(room)

    def until_read(self, word: str, owner: str, read: Callable[[], None], idents: Sequence[str] = ()) -> dict:
        """What it sends while it reads this, and what becomes of that."""
        unread = self.stage.rows(self.owner(owner), word)
        names = [*idents, *(row[1] for row in unread)]
        mark = len(self.wire.stanzas)
        # Beside it, because an app that starts twice takes longer than the timer.
        ledger, went, done = [], [], threading.Event()
        watch = threading.Thread(target=self.watch, args=((word, owner), ledger, went, done), daemon=True)
        watch.start()
        read()
        seen_within(15, lambda: went)
        done.set()
        watch.join()
        shows = self.shows(mark, names)
        seen = {"sends": self.sends(mark, owner), "unread_stays": bool(unread), "evidence": sorted({evidence(it.text) for it in shows}), "ledger": ledger}
        if went:
            seen["after"] = round(went[0] - shows[0].time, 1) if shows else "without evidence"
        return seen

    def shows(self, mark: int, names: list[str]) -> list[Stanza]:
        """What it sent since to show that it has read one of these."""
        return [it for it in self.wire.stanzas[mark:] if it.sent and evidence(it.text) and any(name in it.text for name in names)]

    def owner(self, name: str) -> str:
        """Whose archive that is, as the server's table says it."""
        is_room = self.stage.server == "ejabberd" and name != self.app.user
        return f"{name}@{self.stage.at['rooms']}" if is_room else name

    def watch(self, what: tuple[str, str], ledger: list[str], went: list[float], done: threading.Event) -> None:
        """Until the word has gone: when, and what had last started its timer."""
        word, owner = what
        t = "SELECT DISTINCT started_by FROM ephemerd.expiries WHERE phase = 'pending' AND owner ="
        while not done.wait(0.2):
            ledger[:] = sorted({row[0] for row in self.stage.sql(f"{t} '{owner}'")}) or ledger
            if not self.stage.rows(self.owner(owner), word):
                went.append(time.time())
                return


def evidence(text: str) -> str:
    """What shows that something was read."""
    if "<publish" in text and "urn:xmpp:mds:displayed:0" in text:
        return "mds"
    if "<displayed" in text and "urn:xmpp:chat-markers:0" in text:
        return "marker"
    return ""


KINDS = {
    "{urn:xmpp:chat-markers:0}displayed": "displayed marker",
    "{urn:xmpp:chat-markers:0}received": "received marker",
    "{urn:xmpp:receipts}received": "receipt",
    "{urn:xmpp:message-correct:0}replace": "correction",
    "{http://jabber.org/protocol/chatstates}composing": "chat state",
    "{http://jabber.org/protocol/chatstates}active": "chat state",
    "{http://jabber.org/protocol/chatstates}paused": "chat state",
    "{http://jabber.org/protocol/chatstates}inactive": "chat state",
    "{http://jabber.org/protocol/chatstates}gone": "chat state",
    "{urn:xmpp:reactions:0}reactions": "reaction",
    "{urn:xmpp:reply:0}reply": "reply",
    "{eu.siacs.conversations.axolotl}encrypted": "OMEMO",
    "{jabber:x:oob}x": "file",
    "{urn:xmpp:sfs:0}file-sharing": "file",
}
# What else a stanza may have that matters to who stores or shows it.
PARTS = {
    "{jabber:client}body": "body",
    "{jabber:x:oob}x": "x:oob",
    "{urn:xmpp:sfs:0}file-sharing": "SFS",
    "{urn:xmpp:eme:0}encryption": "EME",
    "{urn:xmpp:fallback:0}fallback": "fallback",
    "{urn:xmpp:mds:displayed:0}displayed": "MDS assist",
}


def sends(wire: Wire, mark: int) -> list[dict]:
    """The kinds of stanza that the client sent, each with the first of its kind as it was written."""
    found: dict[str, dict] = {}
    for it in wire.stanzas[mark:]:
        if not it.sent:
            continue
        if it.name == "iq" and evidence(it.text) == "mds":
            kind = "message displayed synchronization"
        elif it.name == "message":
            tags = [child.tag for child in it.element]
            kinds = [KINDS[tag] for tag in tags if tag in KINDS]
            words = "{jabber:client}body" in tags
            kind = next((k for k in kinds if k != "chat state" or not words), "words" if words else "other")
            if "{urn:xmpp:message-correct:0}replace" in tags:
                kind = "correction"
        else:
            continue
        hints = sorted(child.tag.split("}")[1] for child in it.element if child.tag.startswith("{urn:xmpp:hints}"))
        parts = sorted({PARTS[child.tag] for child in it.element if child.tag in PARTS})
        found.setdefault(kind, {"kind": kind, "hints": hints, "parts": parts, "id": it.element.get("id"), "stanza": it.text})
    return list(found.values())


SCENES = ["talk", "more", "upload", "omemo", "placeholder", "deleted", "last_id", "room", "file", "queue", "restored", "reading", "mds", "first_reader", "everyone"]
