#!/usr/bin/env bash
# Loguru's retention of app.log deletes app.errors.log and app.log.bak as well; that of {time}.log every log of the folder.
#
# Version: loguru 0.7.3 (PyPI).
# Guess: it deletes what it has rotated itself, app.TIME.log, and leaves other files alone.
# Behaviour: what has anything put into its name, before the ending or behind it, is taken for rotated, and a time in the name stands for
#   anything. It goes when it is old, or more than the number to be kept, at each rotation and when the program ends. Of two logs
#   whose names begin alike, one deletes the other, which may have a longer retention or none.
# Seen, when all files but today's are at least a month old:
# | app.log, retention "7 days": deletes app.2024-01-01_00-00-00_000000.log app.errors.log app.log.bak, leaves app.txt apples.log
# | app.log, retention 1: deletes app.2024-01-01_00-00-00_000000.log app.errors.log app.log.bak, leaves app.txt apples.log
# | {time:YYYY-MM-DD}.log, retention "7 days": deletes app.2024-01-01_00-00-00_000000.log app.errors.log app.log.bak apples.log, leaves app.txt
. "$(dirname "$0")/lib.sh"

python --no-deps loguru==0.7.3

WORK=$WORK python3 - <<'PYTHON' 2>>"$WORK/log" | as_described
import os
import time
from pathlib import Path

from loguru import logger

NEIGHBOURS = ["app.2024-01-01_00-00-00_000000.log", "app.errors.log", "app.log.bak", "app.txt", "apples.log"]
logger.remove()
for name, retention in [("app.log", "7 days"), ("app.log", 1), ("{time:YYYY-MM-DD}.log", "7 days")]:
    folder = Path(os.environ["WORK"], f"{len(name)}-{retention}")
    folder.mkdir()
    for age, neighbour in enumerate(reversed(NEIGHBOURS)):
        file, then = folder / neighbour, time.time() - (30 + age) * 86400
        file.write_text("words\n")
        os.utime(file, (then, then))
    sink = logger.add(folder / name, retention=retention)
    logger.info("words")
    logger.remove(sink)
    left = [neighbour for neighbour in NEIGHBOURS if (folder / neighbour).exists()]
    gone = [neighbour for neighbour in NEIGHBOURS if neighbour not in left]
    shown = f'"{retention}"' if isinstance(retention, str) else retention
    print(f"{name}, retention {shown}: deletes {' '.join(gone)}, leaves {' '.join(left)}")
PYTHON
