"""Draws the tables of docs/clients.md from seen.json. draw.py --check fails where the page differs."""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "../../docs/clients.md")
BEGIN = "<!-- drawn by ./dev test --clients: begin -->\n"
END = "<!-- drawn by ./dev test --clients: end -->\n"
NAMES = {"profanity": "Profanity", "poezio": "poezio", "gajim": "Gajim", "dino": "Dino", "slixmpp": "bot of slixmpp", "nbxmpp": "bot of nbxmpp"}
GATEWAYS = {"biboumi": "biboumi"}
SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13", "unstable": "Debian unstable", "pypi": "PyPI"}
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


def beyond(runs: list[dict]) -> str:
    """Replies, reactions, files and encryption."""
    kinds = {"reply": "more", "reaction": "more", "file": "upload", "OMEMO": "omemo"}
    rows = []
    for name in dict.fromkeys(client(run) for run in runs):
        own = [run["scenes"] for run in runs if client(run) == name]
        rows.append([name, *(extra([it[scene] for it in own if scene in it], kind) for kind, scene in kinds.items())])
    return table(["client", "reply", "reaction", "picture", "OMEMO"], rows)


def extra(scenes: list[dict], kind: str) -> str:
    """What one stanza of that kind had, beside what all messages have."""
    found = next((it for scene in scenes for it in scene.get("sends", []) if it["kind"] == kind), None)
    if found:
        return ", ".join(["body" if it == "body" else it for it in found["parts"]] + [f"`<{it}/>`" for it in found["hints"]]) or "yes"
    if all(it.get("can", {}).get(kind) is None for it in scenes):
        return "not run"
    return "not seen" if any(it.get("can", {}).get(kind) for it in scenes) else "–"


def archived(runs: list[dict]) -> str:
    """Which kinds of stanza are in whose archive, by server."""
    servers = list(dict.fromkeys(beside(run) for run in runs))
    cells: dict[str, dict[str, set[str]]] = {}
    for run in runs:
        for it in (it for scene in run["scenes"].values() for it in scene.get("sends", []) if "archived" in it):
            if it["kind"] in ("other", "chat state"):
                continue
            marks = [f"`<{hint}/>`" for hint in it["hints"]]
            marks += [part for part in it["parts"] if it["kind"] in ("OMEMO", "reaction", "file") and part != "MDS assist"]
            in_room = "room" in it["archived"]
            kind = it["kind"] + (" in a room" if in_room else "") + (" with " + " and ".join(marks) if marks else "")
            who = [name for name in it["archived"] if it["archived"][name]]
            answer = {0: "not the room's" if in_room else "neither", 2: "both"}.get(len(who))
            answer = answer or {"own": "sender's", "other": "receiver's", "room": "the room's"}[who[0]]
            cells.setdefault(kind, {}).setdefault(beside(run), set()).add(answer)
    rows = [[kind, *(" or ".join(sorted(seen.get(server, {"–"}))) for server in servers)] for kind, seen in sorted(cells.items())]
    return table(["stanza", *servers], rows)


def gateways(runs: list[dict]) -> str:
    """Where the words of a message through a gateway are after its time."""
    rows = []
    for run in runs:
        channel, private = (run["scenes"].get(scene, {}) for scene in ("channel", "private"))
        name = f"{GATEWAYS[run['client']]} {run['version']}, {SUITES[run['suite']]}"
        if "failed" in channel or "failed" in private:
            rows.append([name, beside(run), *["not seen"] * 4])
            continue
        keeps = [what for what, key in (("its archive", "gateway_keeps"), ("what it answers to a query", "archive_answers")) if channel[key]]
        keeps += ["what it shows at the next join"] if channel["joins_again"] else []
        keeps += ["its log"] if channel["logs"] else []
        answers = [what for what, key in (("receipts", "receipt"), ("markers", "marker")) if private[key]]
        rows.append([
            name, beside(run),
            ("server has none; " if not channel["server_keeps"] else "**server has it**; ") + ("still in " + ", ".join(keeps) if keeps else "gateway has none"),
            ("sender's row " + ("went" if private["went"] else "**stays**") if private["archived"] else "not archived")
            + ("; **gateway has it**" if private["gateway_keeps"] else "; gateway has none"),
            " and ".join(answers) or "nothing",
            "shown as a new message" if private["correction"] else "not shown",
        ])
    return table(["gateway", "server", "to a channel, timer of 1 s", "to a person, timer of 5 s", "tells that it came or was read", "correction"], rows)


def beside(run: dict) -> str:
    return f"{SERVERS[run['server']]} {run['server_version']}"


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
    rows = [[client(run), *(cell(key, run["scenes"].get(key, {})) for key, _ in SITUATIONS)] for run in runs if beside(run) == server]
    return table(["client", *(name for _, name in SITUATIONS)], rows)


def caught(run: dict) -> str:
    """How it caught up after a message in the middle was deleted."""
    if "deleted" not in run["scenes"]:
        return "not run"
    told = run["scenes"]["deleted"].get("wire", [])
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
        rows.append([client(run), beside(run), caught(run), shows, gone(seen), gone(mds)])
    return table(["client", "server", "catches up by", "shows that it was read by", "timer of 5 s", "the same, where only MDS counts"], rows)


def rooms(runs: list[dict]) -> str:
    """What each shows of reading in a room for members only."""
    rows = []
    for run in runs:
        first, everyone = (run["scenes"].get(scene, {}) for scene in ("first_reader", "everyone"))
        if not first and not everyone:
            continue
        seen = [it for it in (first, everyone) if it and "failed" not in it]
        shows = lambda key: ", ".join(sorted({by for it in seen for by in it[key]})) or ("nothing" if seen else "not run")
        rows.append([client(run), beside(run), shows("evidence"), shows("live"), gone(first), gone(everyone)])
    return table(["client", "server", "on its return", "in front", "the first reader starts it", "every member starts it"], rows)


def page() -> str:
    with open(os.path.join(HERE, "seen.json"), encoding="utf-8") as file:
        runs = json.load(file)
    through = [run for run in runs if run["client"] in GATEWAYS]
    runs = [run for run in runs if run["client"] in NAMES]
    parts = ["What each sends:\n\n", sent(runs), "\nAnd beyond that, with what beside it:\n\n", beyond(runs)]
    parts += ["\nIn whose archive that is afterwards, the sender's, the receiver's, both or neither:\n\n", archived(runs)]
    for server in sorted({beside(run) for run in runs}, reverse=True):
        parts += [f"\nWhat each shows afterwards, beside {server}:\n\n", behaviour(runs, server)]
    parts += ["\nWhere the words of a message are afterwards that went through a gateway to IRC:\n\n", gateways(through)] if through else []
    parts += ['\nHow each catches up, and what happens with `timers.start = "read"`:\n\n', reading(runs)]
    parts += ["\nWhat each shows of reading in a room for members only, and what becomes of a message there with a timer of 5 s:\n\n", rooms(runs)]
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
