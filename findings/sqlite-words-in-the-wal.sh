#!/usr/bin/env bash
# What SQLite deleted securely is still in the file beside the database.
#
# Version: SQLite 3.54.1 (PyPI, apsw 3.54.1.0).
# Guess: with secure_delete deleted words are overwritten with zeros, and after a checkpoint, at the latest after VACUUM, they are in
#   no file.
# Behaviour: true of the database's own file. In WAL mode the log keeps the pages as they were when the words were written; a
#   checkpoint, even RESTART, copies pages and leaves the log's bytes, and so does VACUUM. They go when later writes happen
#   to come over them, by a checkpoint of the kind TRUNCATE, or when the last connection closes. A journal of the kind
#   PERSIST keeps the page as it was before the deletion.
# Seen, where the words are:
# | wal, written: db-wal
# | wal, deleted: db-wal
# | wal, checkpoint FULL: db-wal
# | wal, checkpoint RESTART: db-wal
# | wal, VACUUM: db-wal
# | wal, checkpoint TRUNCATE: nowhere
# | delete, deleted: nowhere
# | persist, deleted: db-journal
. "$(dirname "$0")/lib.sh"

python apsw==3.54.1.0

python3 - "$WORK" 2>>"$WORK/log" <<'PY' | as_described
import os
import sys
import tempfile

import apsw

WORDS = "the words of one message"


def find(folder):
    found = []
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            found += [name] if WORDS.encode() in file.read() else []
    return " ".join(found) or "nowhere"


def play(mode, steps):
    folder = tempfile.mkdtemp(dir=sys.argv[1])
    database = apsw.Connection(os.path.join(folder, "db"))
    for line in (f"PRAGMA journal_mode = {mode}", "PRAGMA secure_delete = ON", "CREATE TABLE archive (id INTEGER PRIMARY KEY, text)"):
        list(database.execute(line))
    for _ in range(20):
        list(database.execute("INSERT INTO archive (text) VALUES ('other words')"))
    list(database.execute("UPDATE archive SET text = ? WHERE id = 10", (WORDS,)))
    for name, line in steps.items():
        list(database.execute(line))
        print(f"{mode}, {name}: {find(folder)}")


DELETE = "DELETE FROM archive WHERE id = 10"
play("wal", {
    "written": "SELECT 1",
    "deleted": DELETE,
    "checkpoint FULL": "PRAGMA wal_checkpoint(FULL)",
    "checkpoint RESTART": "PRAGMA wal_checkpoint(RESTART)",
    "VACUUM": "VACUUM",
    "checkpoint TRUNCATE": "PRAGMA wal_checkpoint(TRUNCATE)",
})
play("delete", {"deleted": DELETE})
play("persist", {"deleted": DELETE})
PY
