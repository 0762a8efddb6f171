#!/usr/bin/env bash
# Python gives two moments for a local time that a change to summer time skips, depending on which method is asked.
#
# Version: CPython 3.11 of Debian 12 (python3.11 3.11.2-6+deb12u6).
# Guess: a naive datetime is local time for all methods alike, so timestamp() and astimezone() name the same moment.
# Behaviour: where the clock jumps, timestamp() counts with the offset before and astimezone() with the offset after it: they differ by
#   an hour, and what was converted first comes out as 01:30, before the jump. With fold=1 it is the other way round. In the hour
#   that is there twice both agree.
# Seen, in UTC, of local times in New York:
# | 2026-03-08 02:30, skipped: timestamp 07:30, astimezone 06:30
# | 2026-03-08 02:30, skipped, fold=1: timestamp 06:30, astimezone 07:30
# | 2026-11-01 01:30, twice: timestamp 05:30, astimezone 05:30
# | 2026-11-01 01:30, twice, fold=1: timestamp 06:30, astimezone 06:30
. "$(dirname "$0")/lib.sh"

debian python3.11=3.11.2-6+deb12u6
programs python3.11

TZ=America/New_York python3.11 - <<'PYTHON' | as_described
from datetime import datetime, timezone


def utc(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%H:%M")


for name, time in ("2026-03-08 02:30, skipped", datetime(2026, 3, 8, 2, 30)), ("2026-11-01 01:30, twice", datetime(2026, 11, 1, 1, 30)):
    for fold in 0, 1:
        it = time.replace(fold=fold)
        print(f"{name}{', fold=1' if fold else ''}: timestamp {utc(it.timestamp())}, astimezone {utc(it.astimezone().timestamp())}")
PYTHON
