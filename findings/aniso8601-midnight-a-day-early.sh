#!/usr/bin/env bash
# The end of a day, `2026-12-31T24:00:00Z`, is its beginning to aniso8601.
#
# Version: aniso8601 10.0.1, arrow 1.4.0, ciso8601 2.3.3, CPython 3.
# Guess: a library that reads 24:00 at all, which ISO 8601-1:2019/Amd 1 and XML Schema have for the end of a day, reads the next day's first moment.
# Behaviour: arrow, ciso8601 and dateutil's isoparse do. aniso8601 puts the hour to 0 and leaves the day: a deadline is 24 hours early,
#   and a span up to the end of its day ends before it began.
# Seen:
# | arrow: 2027-01-01 00:00:00+00:00
# | ciso8601: 2027-01-01 00:00:00+00:00
# | dateutil: 2027-01-01 00:00:00+00:00
# | aniso8601: 2026-12-31 00:00:00+00:00
# | aniso8601, from 12:00 to 24:00: -12 hours
. "$(dirname "$0")/lib.sh"

python aniso8601==10.0.1 arrow==1.4.0 ciso8601==2.3.3 python-dateutil==2.9.0.post0

python3 - <<'PYTHON' | as_described
import aniso8601
import arrow
import ciso8601
from dateutil.parser import isoparse

END = "2026-12-31T24:00:00Z"
print("arrow:", arrow.get(END).datetime)
print("ciso8601:", ciso8601.parse_datetime(END))
print("dateutil:", isoparse(END))
print("aniso8601:", aniso8601.parse_datetime(END))
start, end = aniso8601.parse_interval(f"2026-12-31T12:00:00Z/{END}")
print(f"aniso8601, from 12:00 to 24:00: {(end - start).total_seconds() / 3600:.0f} hours")
PYTHON
