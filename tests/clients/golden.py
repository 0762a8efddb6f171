"""Writes what clients really sent, with other people's names, as the cases of tests/golden that begin with a 2.

Each kind of message of each client and version once, and what has content once more with a timer. `GOLDEN=print cargo test --test it golden` says what becomes of it.
"""

import glob
import json
import os
import re

from draw import NAMES, SUITES

HERE = os.path.dirname(os.path.abspath(__file__))
TIMER = "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='60'/>"
STAYS = 'outcome = "stays"\nbecause = [\n    "neither a timer nor a hint asks for it to go",\n]\n'
GOES = 'outcome = "goes"\ndue_at = "2026-11-22T04:15:00Z"\nreason = "timer"\nbecause = [\n    "a timer of 60 s",\n]\n'
GOLDEN = os.path.join(HERE, "../golden")


def anonymous(text: str, user: str) -> str:
    """With the names of the examples, and ids that say nothing."""
    text = re.sub(r"[^'\"]*@conference\.localhost", "room@conference.example.org", text)
    text = re.sub(rf"{user}@localhost(/[^'\"]*)?", "alice@example.org/a1", text)
    text = re.sub(r"peter@localhost(/[^'\"]*)?", "bob@example.org", text)
    text = re.sub(r"(apple|banana|cherry|damson)\d\d\w{3}", "Hello", text)
    text = re.sub(rf"\b{user}\b", "alice", text)
    # Files, keys and what is encrypted with them.
    text = re.sub(r"https://localhost:\d+/\d+/[^<'\"]*", "https://example.org/files/picture.png", text)
    text = re.sub(r"(<name>)[^<]*", r"\1picture.png", text)
    text = re.sub(r"(<date>)[^<]*", r"\g<1>2026-11-22T04:14:00+0000", text)
    text = re.sub(r"(base64,)[^'\"]*", r"\1AAAA", text)
    text = re.sub(r"(<(?:key|iv|payload|hash)\b[^>]*>)[^<]*", r"\1AAAA", text)
    text = re.sub(r"(\s[rs]id=['\"])\d+", r"\g<1>31415", text)
    ids: dict[str, str] = {}
    quoted = lambda it: f"{it[1]}{it[2]}{ids.setdefault(it[3], f'm{len(ids) + 1}')}{it[2]}"
    text = re.sub(r"(\sid=)(['\"])([^'\"]*)\2", quoted, text)
    return re.sub(r"<thread>[^<]*", "<thread>t1", text)


def main() -> None:
    number = 200
    for old in glob.glob(os.path.join(GOLDEN, "2??-*.toml")):
        os.remove(old)
    with open(os.path.join(HERE, "seen.json"), encoding="utf-8") as file:
        runs = json.load(file)
    written = set()
    for run in (it for it in runs if it["client"] in NAMES):
        for scene in run["scenes"].values():
            for it in scene.get("sends", []):
                key = (run["client"], run["version"], it["kind"])
                if key in written or not it["stanza"].startswith("<message") or it["kind"] in ("chat state", "other"):
                    continue
                written.add(key)
                name = f"{number}-{run['client']}-{it['kind'].replace(' ', '-')}.toml"
                number += 1
                names = {"words": "a message", "OMEMO": "an encrypted message"}
                kind = names.get(it["kind"], f"a {it['kind']}")
                stanza = anonymous(it["stanza"], run["client"] + run["suite"][:2])
                head = f'rule = "real clients"\ncase = "As captured from {NAMES[run["client"]]} {run["version"]} ({SUITES[run["suite"]]})'
                write(name, f"{head}: {kind} stays", stanza, STAYS)
                if it["kind"] not in ("words", "receipt", "displayed marker"):
                    name = f"{number}-{run['client']}-{it['kind'].replace(' ', '-')}-timer.toml"
                    number += 1
                    write(name, f"{head}, and a timer: {kind} goes", stanza.replace("</message>", f"{TIMER}</message>"), GOES)


def write(name: str, head: str, stanza: str, expected: str) -> None:
    with open(os.path.join(GOLDEN, name), "w", encoding="utf-8") as file:
        file.write(f"{head}\"\nstanza = '''\n{stanza}\n'''\n\n[expected]\n{expected}")


if __name__ == "__main__":
    main()
