"""Draws the tables of docs/clients.md from seen.json. draw.py --check fails where the page differs."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "../../docs/clients.md")
BEGIN = "<!-- drawn by ./dev test --clients: begin -->\n"
END = "<!-- drawn by ./dev test --clients: end -->\n"
NAMES = {"profanity": "Profanity", "poezio": "poezio", "gajim": "Gajim", "dino": "Dino", "slixmpp": "bot of slixmpp"}
SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "pypi": "PyPI"}
SERVERS = {"prosody": "Prosody", "ejabberd": "ejabberd"}
SITUATIONS = [
    ("placeholder", "blanked in the middle"),
    ("deleted", "deleted in the middle"),
    ("last_id", "last known id deleted"),
    ("room", "room's last 20 expired"),
    ("file", "file answers 410"),
    ("queue", "queue has a blank"),
    ("restored", "id back by a restore"),
]


def client(run: dict) -> str:
    return f"{NAMES[run['client']]} {run['version']}, {SUITES[run['suite']]}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines).replace("| --- ", "|---").replace("|--- |", "|---|").replace("---|---", "---|---")


def hints(found: list[dict], kind: str) -> str:
    """Whether it sent that kind, and with which hints."""
    it = next((it for it in found if it["kind"] == kind), None)
    if it is None:
        return "no"
    return "yes" + (", with " + " and ".join(f"`<{hint}/>`" for hint in it["hints"]) if it["hints"] else "")


def sent(runs: list[dict]) -> str:
    kinds = ["displayed marker", "message displayed synchronization", "receipt", "correction"]
    rows = []
    for name in dict.fromkeys(client(run) for run in runs):
        found = [it for run in runs if client(run) == name for it in run["scenes"].get("talk", {}).get("sends", [])]
        found += [it for run in runs if client(run) == name for it in run["scenes"].get("reading", {}).get("sends", [])]
        rows.append([name, *(hints(found, kind) for kind in kinds)])
    return table(["client", "displayed marker", "MDS", "receipt", "correction"], rows)


def cell(situation: str, seen: dict) -> str:
    """What was seen, in a few words."""
    if not seen:
        return "not run"
    if "failed" in seen:
        return "not seen: " + seen["failed"].split(":")[0]
    if not seen.get("alive", True):
        return "**ended**"
    if situation == "file":
        return ("asks for it" if seen["requests"] else "does not ask") + (", goes on" if seen["live"] else ", **no more messages**")
    if seen.get("had") is False:
        return "not seen"
    shown = dict(seen["shown"])
    if situation == "room":
        return ("new one shown" if shown["new"] else "new one **missing**") + (f", {seen['handed_again']} old again" if seen["handed_again"] else "")
    middle = shown.pop("banana", 0) if situation in ("placeholder", "deleted", "queue") else 0
    erased = shown.pop("apple", 0) if situation in ("last_id", "restored") else 0
    if situation == "restored":
        shown.pop("banana", 0)  # seen before the last start
    rest = list(shown.values())
    text = "rest **missing**" if 0 in rest else "rest more than once" if max(rest) > 1 else "rest shown"
    if middle:
        text += ", **erased words, too**"
    elif situation == "queue" and not any("late" in it for it in seen["wire"]):
        text += ", from the archive"
    if situation == "restored":
        text += ", it not on screen" if not erased else ", it once" if erased == 1 else ", it more than once"
    return text + ("" if seen.get("live", True) else ", **nothing new**")


def behaviour(runs: list[dict], server: str) -> str:
    rows = [[client(run), *(cell(key, run["scenes"].get(key, {})) for key, _ in SITUATIONS)] for run in runs if run["server"] == server]
    return table(["client", *(name for _, name in SITUATIONS)], rows)


def caught(run: dict) -> str:
    """How it caught up after a message in the middle was deleted."""
    told = run["scenes"].get("deleted", {}).get("wire", [])
    asks = [it.split(" by ", 1)[1] for it in told if "asks its archive by" in it]
    late = any("late" in it for it in told)
    how = ["archive by " + "; ".join(f"`{it}`" for it in dict.fromkeys(asks))] if asks else []
    return " and ".join(how + (["offline queue"] if late else [])) or "not seen"


def gone(seen: dict) -> str:
    """What became of the message with a timer of 5 s."""
    if not seen or "failed" in seen:
        return "not run"
    after = seen.get("after")
    if after is not None and seen.get("ledger"):
        return f"went after {after} s, started by {' and '.join(seen['ledger'])}"
    return "stays unread" if after is None else f"went after {after} s" if not isinstance(after, str) else f"went {after}"


def reading(runs: list[dict]) -> str:
    rows = []
    for run in runs:
        seen, mds = (run["scenes"].get(scene, {}) for scene in ("reading", "mds"))
        shows = ", ".join(seen.get("evidence", [])) or ("nothing" if seen and "failed" not in seen else "not run")
        rows.append([client(run), SERVERS[run["server"]], caught(run), shows, gone(seen), gone(mds)])
    return table(["client", "server", "catches up by", "shows that it was read by", "timer of 5 s", "the same, where only MDS counts"], rows)


def page() -> str:
    with open(os.path.join(HERE, "seen.json"), encoding="utf-8") as file:
        runs = json.load(file)
    parts = ["What each sends:\n\n", sent(runs)]
    for server, name in SERVERS.items():
        parts += [f"\nWhat each shows afterwards, beside {name}:\n\n", behaviour(runs, server)]
    parts += ['\nHow each catches up, and what happens with `timers.start = "read"`:\n\n', reading(runs)]
    return "".join(parts)


def main() -> int:
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    drawn = head + BEGIN + page() + END + tail
    if "--check" in sys.argv:
        return int(drawn != text)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())
