"""The servers under the clients: tests/lab/src/bin/stage.rs, and the database as its superuser."""

import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


def until(what: str, seconds: float, probe: Callable[[], Optional[T]]) -> T:
    """Asks until there is an answer; fails by name when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.1)


def seen_within(seconds: float, probe: Callable[[], Optional[T]]) -> Optional[T]:
    """The same, where the answer may also be no."""
    try:
        return until("", seconds, probe)
    except TimeoutError:
        return None


@dataclass
class Tables:
    """A server's own names for what the scenes ask."""

    archive: str
    number: str
    owner: str
    text: str
    ident: str
    queue: str


PROSODY = Tables("prosodyarchive", "sort_id", "\"user\"", "value", "key", "prosodyarchive WHERE store = 'offline' AND")
EJABBERD = Tables("archive", "id", "username", "xml", "timestamp::text", "spool WHERE")


@dataclass
class Stage:
    """One server with its database and, between `start` and `stop`, the daemon."""

    server: str
    folder: str
    process: subprocess.Popen = field(init=False)
    at: dict = field(init=False)

    def __enter__(self) -> "Stage":
        line = [f"{self.folder}/stage", "--server", self.server, "--ephemerd", f"{self.folder}/ephemerd"]
        # A busy machine may take longer than the lab waits.
        for _ in range(4):
            self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            first = self.process.stdout.readline()
            if first:
                break
        else:
            raise RuntimeError(f"{self.server} did not start")
        self.at = json.loads(first)
        self.tables = PROSODY if self.server == "prosody" else EJABBERD
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(60)

    def tell(self, line: str) -> None:
        """One line of stage's language."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip() or f"stage has ended: {self.process.poll()}"
        if answer != "ok":
            raise RuntimeError(f"{line}: {answer}")

    def daemon(self, **settings) -> None:
        """Restarts the daemon with these settings; `erase__mode` is erase.mode."""
        self.tell("stop")
        for key, value in settings.items():
            self.tell(f"set {key.replace('__', '.')} {json.dumps(value)}")
        self.tell("start")

    def address(self) -> tuple[str, int]:
        host, port = self.at["clients"].rsplit(":", 1)
        return host, int(port)

    def sql(self, statement: str) -> list[list[str]]:
        """What a statement answers, as text."""
        line = ["psql", "-X", "-q", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-d", self.at["database"], "-c", statement]
        out = subprocess.run(line, capture_output=True, text=True, check=False)
        if out.returncode:
            raise RuntimeError(out.stderr)
        return [row.split("\x1f") for row in out.stdout.splitlines()]

    def rows(self, owner: str, like: str) -> list[list[str]]:
        """Number, id and text of the archived rows whose text has these words."""
        t = self.tables
        store = "" if self.server == "ejabberd" else "store IN ('archive', 'muc_log') AND "
        return self.sql(
            f"SELECT {t.number}, {t.ident}, replace({t.text}, chr(10), ' ') FROM {t.archive}"
            f" WHERE {store}{t.owner} = '{owner}' AND {t.text} LIKE '%{like}%' ORDER BY {t.number}"
        )

    def queued(self, owner: str) -> list[list[str]]:
        """What waits in an offline queue."""
        t = self.tables
        number = "seq" if self.server == "ejabberd" else t.number
        return self.sql(f"SELECT {number}, replace({t.text}, chr(10), ' ') FROM {t.queue} {t.owner} = '{owner}' ORDER BY {number}")
