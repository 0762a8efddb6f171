#!/usr/bin/env bash
# DuckDB's VACUUM and CHECKPOINT leave deleted and replaced words in the file.
#
# Version: duckdb 2.0.1 (PyPI); columns without compression, so that words can be counted.
# Guess: a checkpoint writes the row groups that changed anew, and VACUUM and FORCE CHECKPOINT do so in any case, so that what was
#   deleted or replaced is not in the file afterwards.
# Behaviour: a row group that still has a row keeps all its words, whatever is run. Changing its last ten rows writes the words of
#   those that were deleted a second time, and the old blocks are free, but not cleared. A copy of the database into a new file has
#   only what is left.
# Seen, words in the file:
# | written: 20000
# | all but ten deleted, CHECKPOINT: 20000
# | VACUUM, FORCE CHECKPOINT: 20000
# | opened again, FORCE CHECKPOINT: 20000
# | the last ten replaced by nothing, FORCE CHECKPOINT: 39990
# | copied into a new file: 0
. "$(dirname "$0")/lib.sh"

python duckdb==2.0.1

cat >"$WORK/finding.py" <<'PYTHON'
import pathlib
import sys

import duckdb

home = pathlib.Path(sys.argv[1])
database = None


def words(name, file="old.db"):
    print(f"{name}:", sum(it.read_bytes().count(b"meet me at the bridge") for it in home.glob(file + "*")))


def run(*statements):
    for statement in statements:
        database.execute(statement)


def opened():
    connection = duckdb.connect(str(home / "old.db"))
    connection.execute("SET force_compression = 'uncompressed'")
    return connection


database = opened()
run("CREATE TABLE messages (id integer, body varchar)",
    "INSERT INTO messages SELECT i, md5(i::varchar) || ' meet me at the bridge' FROM range(20000) AS t(i)", "CHECKPOINT")
words("written")
run("DELETE FROM messages WHERE id < 19990", "CHECKPOINT")
words("all but ten deleted, CHECKPOINT")
run("VACUUM", "FORCE CHECKPOINT")
words("VACUUM, FORCE CHECKPOINT")
database.close()
database = opened()
run("FORCE CHECKPOINT")
words("opened again, FORCE CHECKPOINT")
run("UPDATE messages SET body = ''", "FORCE CHECKPOINT")
words("the last ten replaced by nothing, FORCE CHECKPOINT")
run(f"ATTACH '{home}/new.db' AS fresh", "COPY FROM DATABASE old TO fresh", "DETACH fresh")
words("copied into a new file", "new.db")
database.close()
PYTHON
python3 "$WORK/finding.py" "$WORK" | as_described
