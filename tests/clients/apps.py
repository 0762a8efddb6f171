"""The clients: how each is set up, started, told to do something, and looked at."""

import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from typing import Optional

import pyte

from stage import until
from wire import Wire

ROOTS = os.environ.get("LAB_ROOTS") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ephemerd/roots"
)
# The root is read-only; the client's home is its /tmp/home, and stays from one start to the next. Not as root: Gajim refuses that.
ENTER = """
mount --bind -o ro "$1" "$1" && mount -t tmpfs clients "$1/tmp" && mkdir "$1/tmp/home" && mount --bind "$2" "$1/tmp/home" &&
mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs -o mode=700,uid=65534,gid=65534 clients "$1/run" &&
chown -R 65534:65534 "$2" &&
if [ -f "$2/ca.pem" ]; then mount --bind "$2/ca.pem" "$1/etc/ssl/certs/ca-certificates.crt"; fi &&
root=$1 && shift 2 && exec chroot --userspec=65534:65534 "$root" env -i HOME=/tmp/home TERM=xterm-256color LANG=C.UTF-8 PATH=/usr/bin:/bin:/usr/sbin \
  XDG_RUNTIME_DIR=/run DISPLAY="$DISPLAY" GSETTINGS_BACKEND=memory GDK_BACKEND=x11 GSK_RENDERER=cairo LIBGL_ALWAYS_SOFTWARE=1 \
  NO_AT_BRIDGE=1 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$@"
"""


def inside(suite: str, home: str, line: list[str]) -> list[str]:
    """The command line that runs this one in a suite's root."""
    return ["unshare", "--mount", "sh", "-c", ENTER, "sh", f"{ROOTS}/{suite}-clients", home, *line]


def installed_version(root: str, package: str) -> str:
    """A package's version as its authors number it."""
    with open(f"{root}/var/lib/dpkg/status", encoding="utf-8") as status:
        found = re.search(rf"^Package: {package}\n(?:.+\n)*?Version: (?:\d+:)?([^-+~\n]+)", status.read(), re.M)
    return found[1] if found else ""


def package_version(suite: str, package: str) -> str:
    """A client's."""
    return installed_version(f"{ROOTS}/{suite}-clients", package)


def server_version(package: str) -> str:
    """A server's, of the Debian that LAB_RELEASE names, or of this machine."""
    release = os.environ.get("LAB_RELEASE")
    return installed_version(f"{ROOTS}/{release}" if release else "", package)


class App:
    """A client with an account; `start` and `stop` may alternate."""

    name, package, needs_tls, library = "", "", False, ""
    reads_rooms = True
    suites = ("bookworm", "trixie", "unstable")

    def __init__(self, suite: str, folder: str, user: str, at: dict, wire: Wire):
        self.suite, self.user, self.at, self.wire, self.port = suite, user, at, wire, wire.port
        self.jid = f"{user}@{at['domain']}"
        self.home = os.path.join(folder, user)
        os.makedirs(self.home, exist_ok=True)
        self.process: Optional[subprocess.Popen] = None
        self.set_up()

    @property
    def version(self) -> str:
        return package_version(self.suite, self.package)

    def library_version(self) -> str:
        """Of the XMPP library under it, where that has a package of its own."""
        return f"{self.library.removeprefix('python3-')} {package_version(self.suite, self.library)}" if self.library else ""

    def write(self, path: str, text: str) -> None:
        path = os.path.join(self.home, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end(self) -> None:
        """Asks for the end, and does not wait for ever."""
        if self.process is None:
            return
        try:
            self.process.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def set_up(self) -> None:
        """Writes its configuration."""

    def start(self) -> None:
        """Starts it, and it connects."""

    def stop(self) -> None:
        """Ends it cleanly."""

    def stop_hard(self) -> None:
        """Ends what is left of it."""
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def correct(self, old: str, new: str) -> None:
        """Corrects what it said last, where it can by its keyboard."""

    def reply(self, word: str, text: str) -> bool:
        """Replies to the message with this word (XEP-0461); False where there is no such command."""
        return False

    def react(self, word: str) -> Optional[bool]:
        """Reacts to the message with this word (XEP-0444); False where there is no such command, None where it was not tried."""
        return False

    def upload(self, picture: str) -> bool:
        """Sends a picture from its home to the chat in front; False where there is no such command."""
        return False

    def encrypt(self, jid: str) -> bool:
        """Encrypts by OMEMO what it says next; False where it cannot."""
        return False

    def in_clear(self, jid: str) -> None:
        """No longer."""

    def chat(self, jid: str) -> None:
        """Opens a chat in front."""

    def join(self, room: str) -> None:
        """Joins a room, in front."""

    def show_room(self, room: str) -> None:
        """Brings a room to the front that it has joined."""

    def say(self, text: str) -> None:
        """Says something in the chat in front."""

    def text(self) -> str:
        """What its user sees."""
        return ""


class Terminal(App):
    """A client in a terminal of 140 columns and 60 lines."""

    def line(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        self.screen = pyte.HistoryScreen(140, 60, history=2000)
        self.screen.set_margins = lambda *a, **k: pyte.Screen.set_margins(self.screen, *a) if not k.get("private") else None
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        import fcntl, struct, termios

        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 140, 0, 0))
        self.process = subprocess.Popen(
            inside(self.suite, self.home, self.line()), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        threading.Thread(target=self.read, args=(self.master,), daemon=True).start()

    def read(self, master: int) -> None:
        while True:
            select.select([master], [], [])
            try:
                data = os.read(master, 65536)
            except OSError:
                return
            if not data:
                return
            try:
                self.stream.feed(data)
            except Exception:  # pylint: disable=broad-except # A sequence that pyte does not know.
                pass

    def type(self, text: str, pause: float = 0.7) -> None:
        # Not at once, or poezio takes it for a paste.
        for part in (text[:1], text[1:]):
            os.write(self.master, part.encode())
            time.sleep(0.3)
        os.write(self.master, b"\r")
        time.sleep(pause)

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).strip()

    def say(self, text: str) -> None:
        self.type(text)

    def correct(self, old: str, new: str) -> None:
        self.type(f"/correct {new}")

    def stop(self) -> None:
        self.type("/quit", 0.2)
        self.end()
        os.close(self.master)


class Profanity(Terminal):
    name = package = "profanity"

    def set_up(self) -> None:
        account = (
            f"[{self.jid}]\nenabled=true\njid={self.jid}\nserver=127.0.0.1\nport={self.port}\nresource=app\n"
            f"password={self.at['password']}\ntls.policy=disable\nmuc.service={self.at['rooms']}\nmuc.nick={self.user}\n"
        )
        self.write(".local/share/profanity/accounts", account)
        # Markers it has none; receipts and the archive are off by default, and are switched on below as a user would.
        self.write(".config/profanity/profrc", "[ui]\nsplash=false\n")
        self.first = True

    def line(self) -> list[str]:
        return ["profanity", "--account", self.jid]

    def start(self) -> None:
        self.enter()
        if self.first:
            self.first = False
            for line in ("/mam on", "/receipts send on", "/receipts request on", "/carbons on", "/history on", "/correction on", "/save"):
                self.type(line)
            self.stop()
            self.enter()

    def enter(self) -> None:
        super().start()
        until("Profanity to log in", 40, lambda: "logged in" in self.text().lower() or "online" in self.text())
        time.sleep(1)

    def chat(self, jid: str) -> None:
        self.type("/win 1", 0.5)  # in a room it would mean an occupant
        self.type(f"/msg {jid}", 1.5)

    def join(self, room: str) -> None:
        self.type(f"/join {room}", 2)

    def upload(self, picture: str) -> bool:
        self.type(f"/sendfile /tmp/home/{picture}", 4)
        return True

    def encrypt(self, jid: str) -> bool:
        for line in ("/omemo gen", "/omemo trustmode blind", "/omemo policy manual"):
            self.type(line, 3)
        self.chat(jid)
        self.type(f"/omemo start {jid}", 5)
        return True

    def in_clear(self, jid: str) -> None:
        self.type("/omemo end")


class Poezio(Terminal):
    name = package = "poezio"
    needs_tls = True  # its SCRAM refuses to work without
    library = "python3-slixmpp"

    def set_up(self) -> None:
        self.write(
            ".config/poezio/poezio.cfg",
            f"[Poezio]\njid = {self.jid}\npassword = {self.at['password']}\ncustom_host = 127.0.0.1\ncustom_port = {self.port}\n"
            f"ignore_certificate = true\ntls_verify_cert = false\ndefault_nick = {self.user}\nuse_bookmarks_method = local\nautocolor_tab_names = false\n",
        )

    def line(self) -> list[str]:
        return ["poezio"]

    def start(self) -> None:
        super().start()
        until("poezio to log in", 60, lambda: "Your JID is" in self.text() or "uthentication success" in self.text() or "nnected" in self.text())
        time.sleep(2)

    def chat(self, jid: str) -> None:
        self.type(f"/message {jid}", 1.5)
        self.type(f"/win {jid.split('@')[0]}", 1.5)

    def join(self, room: str) -> None:
        self.type(f"/join {room}/{self.user}", 2)

    def react(self, word: str) -> Optional[bool]:
        """By a plugin that newer ones have; a message is named by its time, and the tabulator writes that of the newest one."""
        if not os.path.exists(f"{ROOTS}/{self.suite}-clients/usr/lib/python3/dist-packages/poezio_plugins/react.py"):
            return False
        self.type("/load react", 3)
        for part in ("/react ", "\t", " \N{HEAVY BLACK HEART}", "\r"):
            os.write(self.master, part.encode())
            time.sleep(1)
        return True

    def upload(self, picture: str) -> bool:
        self.type("/load upload", 3)
        self.type(f"/upload /tmp/home/{picture}", 4)
        # It writes the address into the line, or sends it by itself.
        os.write(self.master, b"\r")
        return True


BUS = "unix:path=/tmp/home/bus"
# What a menu's entry or a button does, by the name that the app exports on its bus.
ACTIVATE = """
import sys
from gi.repository import Gio, GLib
name, path, action, parameter = sys.argv[1:]
call = GLib.Variant('(sava{sv})', (action, [GLib.Variant.parse(None, parameter)], {}))
Gio.bus_get_sync(Gio.BusType.SESSION).call_sync(name, path, 'org.gtk.Actions', 'Activate', call, None, 0, 5000, None)
"""


class Window(App):
    """A client on a display of its own."""

    displays = 90
    x: Optional[subprocess.Popen] = None
    command: list[str] = []

    def start(self) -> None:
        self.mark = len(self.wire.stanzas)
        Window.displays += 1
        self.display = f":{Window.displays}"
        os.environ["DISPLAY"] = self.display
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        self.x = subprocess.Popen(
            inside(self.suite, self.home, ["Xvfb", self.display, "-screen", "0", "1100x800x24", "-nolisten", "unix"]), **quiet
        )
        time.sleep(1.5)
        with open(os.path.join(self.home, "log"), "ab") as log:
            quiet["stdout"] = quiet["stderr"] = log
            # The bus is in its home, where later commands find it as well.
            script = f"dbus-daemon --session --nofork --address={BUS} & openbox & sleep 1; exec env DBUS_SESSION_BUS_ADDRESS={BUS} "
            script += " ".join(self.command)
            self.process = subprocess.Popen(inside(self.suite, self.home, ["sh", "-c", script]), **quiet)

    def wait_online(self) -> None:
        """The relay has seen it become available; a window that never logs in would pass for one that shows nothing."""
        mark = self.mark
        until(f"{self.name} to log in", 60, lambda: any(it.name == "presence" for it in self.wire.since(mark, True)))
        time.sleep(3)

    def run(self, line: list[str], wait: float = 10) -> str:
        """Another command beside it."""
        os.environ["DISPLAY"] = self.display
        try:
            out = subprocess.run(
                inside(self.suite, self.home, line), capture_output=True, text=True, timeout=wait, check=False
            )
            return out.stdout
        except subprocess.TimeoutExpired:
            return ""

    def keys(self, *keys: str) -> None:
        self.run(["xdotool", "key", "--delay", "60", *keys])

    def say(self, text: str) -> None:
        self.run(["xdotool", "type", "--delay", "30", text])
        self.keys("Return")
        time.sleep(0.7)

    def picture(self, name: str) -> None:
        """A screenshot, into its home."""
        self.run(["import", "-window", "root", f"/tmp/home/{name}.png"])

    def beside(self, line: list[str]) -> None:
        """The same program again, which hands its arguments to the one that runs, over the bus."""
        self.run(["env", f"DBUS_SESSION_BUS_ADDRESS={BUS}", *line], wait=30)

    def activate(self, name: str, path: str, action: str, parameter: str) -> None:
        """One of its actions, as a click on a button would."""
        self.beside(["python3", "-c", ACTIVATE, name, path, action, parameter])
        time.sleep(1)

    # By suite, the column of the button for a reaction, which appears beside the message below the pointer.
    buttons: dict[str, Optional[int]] = {}
    # Where the lowest message may be: above the line where its user writes.
    lowest = 580

    def react(self, word: str) -> Optional[bool]:
        """By the pointer, as there is no other way; the message is the lowest one."""
        column = self.buttons.get(self.suite, 0)
        if not column:
            return column if column is None else False
        for row in range(self.lowest, 300, -18):
            self.run(["xdotool", "mousemove", "700", str(row + 4), "sleep", "0.3", "mousemove", "700", str(row)])
            time.sleep(0.7)
            dark = self.dark(column, row - 45, 60)
            if dark:
                break
        else:
            return True
        self.run(["xdotool", "mousemove", str(column), str((dark[0] + dark[-1]) // 2), "sleep", "0.3", "click", "1"])
        time.sleep(2)
        self.picture("react")
        self.run(["xdotool", "type", "--delay", "60", "heart"])
        time.sleep(1)
        self.keys("Tab", "Return")
        time.sleep(1)
        self.picture("reacted")
        if self.suite != "unstable":  # There the emojis close by themselves, and Escape closes the chat.
            self.keys("Escape")
        return True

    def dark(self, column: int, top: int, height: int) -> list[int]:
        """Where that part of a column of the screen is dark."""
        pixels = self.run(["import", "-window", "root", "-crop", f"1x{height}+{column}+{top}", "+repage", "-depth", "8", "txt:-"])
        return [top + int(y) for y, red in re.findall(r"^0,(\d+): .*?#([0-9A-Fa-f]{2})", pixels, re.M) if int(red, 16) < 0x60]

    def rows(self, path: str, statement: str) -> list[tuple]:
        """What its own database answers, read from a copy."""
        path = os.path.join(self.home, path)
        with tempfile.TemporaryDirectory() as folder:
            for end in ("", "-wal", "-shm"):
                if os.path.exists(path + end):
                    shutil.copy(path + end, folder)
            try:
                with sqlite3.connect(os.path.join(folder, os.path.basename(path))) as database:
                    return database.execute(statement).fetchall()
            except sqlite3.Error:  # It was being written.
                return []

    def stop_hard(self) -> None:
        self.stop()

    def stop(self) -> None:
        for process in (self.process, self.x):
            if process and process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


GAJIM = """
import sys
from gajim.common import configpaths
configpaths.init()
configpaths.create_paths()
from gajim.common import app
from gajim.common.settings import Settings
settings = Settings()
settings.init()
app.settings = settings
jid, password, port = sys.argv[1:]
user, host = jid.split('@')
name = jid
settings.add_account(name)
values = {'name': user, 'hostname': host, 'address': jid, 'password': password, 'savepass': True, 'active': True,
    'autoconnect': True, 'use_custom_host': True, 'custom_host': '127.0.0.1', 'custom_port': int(port), 'custom_type': 'PLAIN',
    'use_plain_connection': True, 'confirm_unencrypted_connection': False, 'account_label': 'app'}
for key, value in values.items():
    try:
        settings.set_account_setting(name, key, value)
    except Exception as error:
        print(key, repr(error), file=sys.stderr)
settings.set('use_keyring', False)
for key, value in (('remote_control', True), ('check_for_update', False), ('show_trayicon', False), ('systray', 'never')):
    try:
        settings.set(key, value)
    except Exception as error:
        print(key, repr(error), file=sys.stderr)
settings.shutdown()
"""


# Settings of one contact, while it is stopped.
GAJIM_CONTACT = """
import sys
from gajim.common import configpaths
configpaths.init()
configpaths.create_paths()
from gajim.common import app
from gajim.common.settings import Settings
from nbxmpp.protocol import JID
settings = Settings()
settings.init()
app.settings = settings
account, jid, encryption = sys.argv[1:]
settings.set_contact_setting(account, JID.from_string(jid), 'encryption', encryption)
settings.shutdown()
"""


class Gajim(Window):
    name = package = "gajim"
    buttons = {"trixie": 922, "unstable": 922}
    library = "python3-nbxmpp"
    command = ["gajim", "--verbose"]

    def set_up(self) -> None:
        self.write("set_up.py", GAJIM)
        self.display = ":0"
        line = ["python3", "/tmp/home/set_up.py", self.jid, self.at["password"], str(self.port)]
        out = subprocess.run(inside(self.suite, self.home, line), capture_output=True, text=True, check=False)
        self.notes = out.stderr

    def start(self) -> None:
        super().start()
        self.wait_online()

    def text(self) -> str:
        path = ".local/share/gajim/logs.db"
        if self.rows(path, "SELECT 1 FROM sqlite_master WHERE name = 'logs'"):
            return "\n".join(it[0] or "" for it in self.rows(path, "SELECT message FROM logs ORDER BY time, log_line_id"))
        return "\n".join(it[0] or "" for it in self.rows(path, "SELECT text FROM message ORDER BY timestamp, pk"))

    def correct(self, old: str, new: str) -> None:
        self.keys("ctrl+Up")
        self.keys("ctrl+a")
        self.say(new)

    def reply(self, word: str, text: str) -> bool:
        row = self.rows(".local/share/gajim/logs.db", f"SELECT pk FROM message WHERE text LIKE '%{word}%' ORDER BY pk DESC")
        if not row:
            return False
        self.activate("org.gajim.Gajim", "/org/gajim/Gajim/window/1", "reply", f"uint32 {row[0][0]}")
        self.say(text)
        return True

    def upload(self, picture: str) -> bool:
        self.activate("org.gajim.Gajim", "/org/gajim/Gajim/window/1", "send-file", f"['file:///tmp/home/{picture}']")
        time.sleep(2)
        self.picture("upload-asks")
        self.keys("Return")
        return True

    def encryption(self, jid: str, kind: str) -> None:
        self.stop()
        self.write("contact.py", GAJIM_CONTACT)
        line = ["python3", "/tmp/home/contact.py", self.jid, jid, kind]
        out = subprocess.run(inside(self.suite, self.home, line), capture_output=True, text=True, check=False)
        self.notes += out.stderr
        self.start()
        self.chat(jid)

    def encrypt(self, jid: str) -> bool:
        self.encryption(jid, "OMEMO")
        time.sleep(5)
        return True

    def in_clear(self, jid: str) -> None:
        self.encryption(jid, "")

    def chat(self, jid: str) -> None:
        self.beside(["gajim", f"xmpp:{jid}?message"])

    def join(self, room: str) -> None:
        self.beside(["gajim", f"xmpp:{room}?join"])

    def show_room(self, room: str) -> None:
        # As a click on a bookmark does.
        self.activate("org.gajim.Gajim", "/org/gajim/Gajim", "open-chat", f"['{self.jid}', '{room}']")


class Dino(Window):
    name, package, needs_tls = "dino", "dino-im", True
    buttons = {"trixie": 971, "unstable": 971, "bookworm": None}  # where it is there, nobody has looked
    lowest = 508
    command = ["dino-im"]
    database = ".local/share/dino/dino.db"

    def start(self) -> None:
        if not os.path.exists(os.path.join(self.home, self.database)):
            super().start()
            time.sleep(5)
            self.stop()
            account = (self.jid, "app", self.at["password"], "", 1)
            with sqlite3.connect(os.path.join(self.home, self.database)) as database:
                database.execute("INSERT INTO account (bare_jid, resourcepart, password, alias, enabled) VALUES (?, ?, ?, ?, ?)", account)
        super().start()
        self.wait_online()

    def correct(self, old: str, new: str) -> None:
        self.keys("Up")
        self.keys("ctrl+a")
        self.say(new)

    def text(self) -> str:
        return "\n".join(it[0] or "" for it in self.rows(self.database, "SELECT body FROM message ORDER BY time, id"))

    def chat(self, jid: str) -> None:
        self.beside(["dino-im", f"xmpp:{jid}?message"])
        if self.rows(self.database, "SELECT 1 FROM conversation WHERE encryption <> 0"):
            # By default it sends to nobody who has no OMEMO; a user would click on the lock.
            self.stop()
            with sqlite3.connect(os.path.join(self.home, self.database)) as database:
                database.execute("UPDATE conversation SET encryption = 0")
            self.start()
            self.beside(["dino-im", f"xmpp:{jid}?message"])

    def reply(self, word: str, text: str) -> bool:
        item = "SELECT content_item.conversation_id, content_item.id FROM content_item JOIN message ON message.id = foreign_id"
        row = self.rows(self.database, f"{item} WHERE content_type = 1 AND body LIKE '%{word}%'")
        if not row:
            return False
        self.activate("im.dino.Dino", "/im/dino/Dino", "quote", f"({row[0][0]}, {row[0][1]})")
        self.say(text)
        return True

    def upload(self, picture: str) -> bool:
        # From the clipboard, as a screenshot would be sent.
        self.run(["sh", "-c", f"xclip -selection clipboard -t image/png -i /tmp/home/{picture} >/dev/null 2>&1 </dev/null"])
        self.keys("ctrl+v")
        time.sleep(2)
        self.picture("upload-asks")
        self.keys("Return")
        return True

    def encryption(self, jid: str, kind: int) -> None:
        self.stop()
        with sqlite3.connect(os.path.join(self.home, self.database)) as database:
            database.execute("UPDATE conversation SET encryption = ?", (kind,))
        self.start()
        self.beside(["dino-im", f"xmpp:{jid}?message"])

    def encrypt(self, jid: str) -> bool:
        self.encryption(jid, 2)
        time.sleep(5)
        return True

    def in_clear(self, jid: str) -> None:
        self.encryption(jid, 0)

    def join(self, room: str) -> None:
        self.beside(["dino-im", f"xmpp:{room}?join"])

    def show_room(self, room: str) -> None:
        # As a click on a notification does.
        found = self.rows(self.database, f"SELECT conversation.id FROM conversation JOIN jid ON jid.id = jid_id WHERE bare_jid = '{room}'")
        if found:
            self.activate("im.dino.Dino", "/im/dino/Dino", "open-conversation", str(found[0][0]))


APPS = {it.name: it for it in (Profanity, Poezio, Gajim, Dino)}


class Slixmpp(App):
    """The bot of slixmpp_bot.py, with PyPI's slixmpp in the harness's own environment."""

    name, suites = "slixmpp", ("pypi",)
    reads_rooms = False  # it is for chats

    @property
    def version(self) -> str:
        return metadata.version("slixmpp")

    def line(self) -> list[str]:
        return [sys.executable, os.path.join(os.path.dirname(__file__), "slixmpp_bot.py"), self.jid, self.at["password"], str(self.port)]

    def start(self) -> None:
        line = self.line()
        self.log = os.path.join(self.home, "log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True)
        online = self.text().count("online")
        until(f"{self.name} to log in", 20, lambda: self.text().count("online") > online)

    def tell(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def chat(self, jid: str) -> None:
        self.tell(f"chat {jid}")

    def join(self, room: str) -> None:
        self.tell(f"join {room}")

    def say(self, text: str) -> None:
        self.tell(f"say {text}")

    def text(self) -> str:
        if not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8") as file:
            return file.read()

    def stop(self) -> None:
        self.tell("quit")
        self.end()


class Nbxmpp(Slixmpp):
    """The bot of nbxmpp_bot.py, with the library of each Debian."""

    name, package, suites = "nbxmpp", "python3-nbxmpp", ("bookworm", "trixie", "unstable")

    @property
    def version(self) -> str:
        return package_version(self.suite, self.package)

    def set_up(self) -> None:
        shutil.copy(os.path.join(os.path.dirname(__file__), "nbxmpp_bot.py"), self.home)

    def line(self) -> list[str]:
        return inside(self.suite, self.home, ["python3", "-u", "/tmp/home/nbxmpp_bot.py", self.jid, self.at["password"], str(self.port)])


APPS.update({it.name: it for it in (Slixmpp, Nbxmpp)})
