"""Writes what clients really sent, with other people's names, as the cases of tests/golden that begin with a 2.

Each kind of message of each client and version once. `GOLDEN=print cargo test --test it golden` says what becomes of it.
"""

import glob
import json
import os
import re

from draw import NAMES, SUITES

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "../golden")


def anonymous(text: str, user: str) -> str:
    """With the names of the examples, and ids that say nothing."""
    text = re.sub(rf"{user}@localhost(/[^'\"]*)?", "alice@example.org/a1", text)
    text = re.sub(r"peter@localhost(/[^'\"]*)?", "bob@example.org", text)
    text = re.sub(r"(apple|banana|cherry|damson)\d\d\w{3}", "Hello", text)
    text = re.sub(rf"\b{user}\b", "alice", text)
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
    for run in runs:
        for scene in run["scenes"].values():
            for it in scene.get("sends", []):
                key = (run["client"], run["version"], it["kind"])
                if key in written or not it["stanza"].startswith("<message") or it["kind"] in ("chat state", "other"):
                    continue
                written.add(key)
                name = f"{number}-{run['client']}-{it['kind'].replace(' ', '-')}.toml"
                number += 1
                kind = "a message" if it["kind"] == "words" else f"{'an' if it['kind'][0] in 'aeiou' else 'a'} {it['kind']}"
                stanza = anonymous(it["stanza"], run["client"] + run["suite"][:2])
                text = (
                    f'rule = "real clients"\ncase = "As captured from {NAMES[run["client"]]} {run["version"]} ({SUITES[run["suite"]]}): {kind} stays"\n'
                    f"stanza = '''\n{stanza}\n'''\n\n[expected]\noutcome = \"stays\"\nbecause = [\n"
                    '    "neither a timer nor a hint asks for it to go",\n]\n'
                )
                with open(os.path.join(GOLDEN, name), "w", encoding="utf-8") as file:
                    file.write(text)


if __name__ == "__main__":
    main()
