#!/usr/bin/env bash
# Day.js writes a day less two hours as minus a day and two hours, and reads minus a day as a day.
#
# Version: dayjs 1.11.23, moment 2.31.0, luxon 3.7.2 (npm); isodate 0.7.2 (PyPI).
# Guess: what they write in ISO 8601 they read as the same duration, negative ones and those with parts of either sign too.
# Behaviour: to dayjs a sign before the P is nothing when it reads, and when it writes it is there as soon as any part is negative, for all of
#   them. A negative duration comes back positive. isodate reads the sign, and writes one for all parts in the same way where
#   there are months. moment and luxon write the signs with the parts.
# Seen:
# | dayjs, one day: P1D, read again: one day
# | dayjs, minus one day: -P1D, read again: one day
# | dayjs, one day less two hours: -P1DT2H, read again: one day and two hours
# | moment, minus one day: -P1D, read again: minus one day
# | moment, one day less two hours: P1DT-2H, read again: one day less two hours
# | luxon, minus one day: P-1D, read again: minus one day
# | luxon, one day less two hours: P1DT-2H, read again: one day less two hours
# | isodate, minus one month: -P1M, read again: minus one month
# | isodate, one month less two days: -P1M2D, read again: minus one month and two days
. "$(dirname "$0")/lib.sh"

node_packages dayjs@1.11.23 moment@2.31.0 luxon@3.7.2
python isodate==0.7.2

{
    cat >"$WORK/signs.mjs" <<'JS'
import dayjs from "dayjs";
import duration from "dayjs/plugin/duration.js";
import { Duration } from "luxon";
import moment from "moment";

dayjs.extend(duration);
const hours = { 24: "one day", 22: "one day less two hours", 26: "one day and two hours", "-24": "minus one day" };
const libraries = {
  dayjs: [(parts) => dayjs.duration(parts).toISOString(), (text) => dayjs.duration(text).asHours()],
  moment: [(parts) => moment.duration(parts).toISOString(), (text) => moment.duration(text).asHours()],
  luxon: [(parts) => Duration.fromObject(parts).toISO(), (text) => Duration.fromISO(text).as("hours")],
};
for (const [library, [write, read]] of Object.entries(libraries))
  for (const [name, parts] of Object.entries({ "one day": { days: 1 }, "minus one day": { days: -1 }, "one day less two hours": { days: 1, hours: -2 } }))
    if (library === "dayjs" || name !== "one day")
      console.log(`${library}, ${name}: ${write(parts)}, read again: ${hours[read(write(parts))]}`);
JS
    node "$WORK/signs.mjs"
    python3 - <<'PYTHON'
from isodate import Duration, duration_isoformat, parse_duration

DURATIONS = {
    "minus one month": Duration(months=-1),
    "one month less two days": Duration(months=1, days=-2),
    "minus one month and two days": Duration(months=-1, days=-2),
}
for name in list(DURATIONS)[:2]:
    text = duration_isoformat(DURATIONS[name])
    again = next(other for other, duration in DURATIONS.items() if duration == parse_duration(text))
    print(f"isodate, {name}: {text}, read again: {again}")
PYTHON
} | as_described
