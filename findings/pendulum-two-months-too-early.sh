#!/usr/bin/env bash
# Pendulum takes 25 December to 23 February for two months, and 22 hours of the day on which the clocks go forward for 23.
#
# Version: pendulum 3.3.0 (PyPI).
# Guess: start + (end - start) is the end, for dates and for times of one zone.
# Behaviour: days that are left count as a month when the month of the end has as many. It is a month and 29 days from 25 December to
#   23 February, and a February of a leap year has 29, so the difference is two months, as it is to the 25th. To the 24th it is less again.
#   Whatever ends after a change of the clocks within a day is reckoned by the clock on the wall. What is added is off by that much.
# Seen:
# | 2023-12-25 to 2024-02-22: 1 month 4 weeks, which leads to 2024-02-22
# | 2023-12-25 to 2024-02-23: 2 months, which leads to 2024-02-25
# | 2023-12-25 to 2024-02-24: 1 month 4 weeks 2 days, which leads to 2024-02-24
# | 2024-03-30 to 2024-04-29: 1 month, which leads to 2024-04-30
# | of 8385 pairs of days 126 lead elsewhere, of 8385 the other way round 1372
# | Berlin, 2024-03-30 04:00 +0100 to 2024-03-31 03:00 +0200: 23 hours, which leads to 2024-03-31 04:00 +0200
# | Berlin, 2024-10-26 04:00 +0200 to 2024-10-27 03:00 +0100: 23 hours, which leads to 2024-10-27 02:00 +0100
. "$(dirname "$0")/lib.sh"

python --no-deps pendulum==3.3.0 python-dateutil==2.9.0.post0 six==1.17.0 tzdata==2025.2

python3 - <<'PYTHON' | as_described
from itertools import combinations

import pendulum


def show(zone, form, start, end):
    print(f"{zone}{start.format(form)} to {end.format(form)}: {(end - start).in_words()}, which leads to {(start + (end - start)).format(form)}")


christmas = pendulum.date(2023, 12, 25)
for day in (22, 23, 24):
    show("", "YYYY-MM-DD", christmas, pendulum.date(2024, 2, day))
show("", "YYYY-MM-DD", pendulum.date(2024, 3, 30), pendulum.date(2024, 4, 29))

days = [christmas.add(days=n) for n in range(130)]
pairs = list(combinations(days, 2))
forward = sum(start + (end - start) != end for start, end in pairs)
backward = sum(end + (start - end) != start for start, end in pairs)
print(f"of {len(pairs)} pairs of days {forward} lead elsewhere, of {len(pairs)} the other way round {backward}")

for month, day in (3, 30), (10, 26):
    start = pendulum.datetime(2024, month, day, 4, tz="Europe/Berlin")
    show("Berlin, ", "YYYY-MM-DD HH:mm ZZ", start, start.add(days=1).subtract(hours=1))
PYTHON
