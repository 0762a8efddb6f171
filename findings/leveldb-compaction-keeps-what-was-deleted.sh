#!/usr/bin/env bash
# LevelDB, asked to compact everything, keeps the values of keys that were deleted.
#
# Version: plyvel 1.5.1 (PyPI, with LevelDB in it).
# Guess: once its keys have been deleted and the whole range compacted, no file has a value any more; at the latest after a second time.
# Behaviour: compacting stops above the lowest level that has a file and merges nothing with it, so what lies there stays, hidden by
#   the deletions above. In a small database that is all there is. Neither a second time nor closing and opening helps; RocksDB, asked
#   the same, has none left.
# Seen, values in the files:
# | LevelDB, written: 100
# | LevelDB, all keys deleted, compacted: 100
# | LevelDB, compacted again: 100
# | LevelDB, opened and compacted again: 100
# | LevelDB has keys: 0
# | RocksDB, written: 100
# | RocksDB, all keys deleted, compacted: 0
. "$(dirname "$0")/lib.sh"

python plyvel==1.5.1 rocksdict==0.3.29

cat >"$WORK/finding.py" <<'PYTHON'
import pathlib
import sys

import plyvel
import rocksdict

home = pathlib.Path(sys.argv[1])
KEYS = [b"key%03d" % n for n in range(100)]


def say(name, folder):
    files = [it for it in (home / folder).iterdir() if it.is_file()]
    print(f"{name}:", sum(it.read_bytes().count(b"meet me at the bridge") for it in files))


def level():
    return plyvel.DB(str(home / "level"), create_if_missing=True, compression=None)


database = level()
for key in KEYS:
    database.put(key, b"meet me at the bridge " + key)
say("LevelDB, written", "level")
for key in KEYS:
    database.delete(key)
database.compact_range()
say("LevelDB, all keys deleted, compacted", "level")
database.compact_range()
say("LevelDB, compacted again", "level")
database.close()
database = level()
database.compact_range()
say("LevelDB, opened and compacted again", "level")
print("LevelDB has keys:", len(list(database)))
database.close()

options = rocksdict.Options(raw_mode=True)
options.set_compression_type(rocksdict.DBCompressionType.none())
database = rocksdict.Rdict(str(home / "rocks"), options)
for key in KEYS:
    database[key] = b"meet me at the bridge " + key
database.flush()
say("RocksDB, written", "rocks")
for key in KEYS:
    del database[key]
database.flush()
database.compact_range(None, None)
say("RocksDB, all keys deleted, compacted", "rocks")
database.close()
PYTHON
python3 "$WORK/finding.py" "$WORK" | as_described
