#!/usr/bin/env bash
# On the day on which the clocks go back, a daily job at 02:30 runs twice by croniter and by APScheduler.
#
# Version: croniter 7.0.0, APScheduler 3.11.3 (PyPI); croner 11.0.1, cron 4.4.0, cron-parser 5.10.6 (npm). systemd: systemd-skips-a-day.
# Guess: all run once on either day; on the day without 02:30 at 03:30, cron alone at 03:00.
# Behaviour: the two of Python run it at both 02:30, an hour apart: a job that counts its own runs, rotates or keeps the last seven copies is one off.
#   On the day without 02:30 croniter, croner and cron run it at 03:00, when the hour is gone, the other two at 03:30.
# Seen, Europe/Berlin, clocks going back on 2027-10-31 and forward on 2027-03-28, in UTC:
# | croniter: back 00:30 01:30, forward 01:00
# | APScheduler: back 00:30 01:30, forward 01:30
# | croner: back 00:30, forward 01:00
# | cron: back 00:30, forward 01:00
# | cron-parser: back 00:30, forward 01:30
. "$(dirname "$0")/lib.sh"

python croniter==7.0.0 apscheduler==3.11.3 tzdata==2025.2
node_packages croner@11.0.1 cron@4.4.0 cron-parser@5.10.6 luxon@3.7.2

{
    python3 - <<'PYTHON'
from datetime import date, datetime, timezone
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter

ZONE = ZoneInfo("Europe/Berlin")


def by_croniter(start):
    times = croniter("30 2 * * *", start)
    while True:
        yield times.get_next(datetime)


def by_apscheduler(start):
    trigger, last = CronTrigger(hour=2, minute=30, timezone=ZONE), None
    while True:
        last = trigger.get_next_fire_time(last, last or start)
        yield last


def on(day, runs):
    found = []
    for run in runs(datetime(day.year, day.month, day.day - 2, 12, tzinfo=ZONE)):
        run = run.astimezone(timezone.utc)
        if run.date() > day:
            return " ".join(found)
        if run.date() == day:
            found.append(f"{run:%H:%M}")


for name, runs in [("croniter", by_croniter), ("APScheduler", by_apscheduler)]:
    print(f"{name}: back {on(date(2027, 10, 31), runs)}, forward {on(date(2027, 3, 28), runs)}")
PYTHON
    cat >"$WORK/runs.mjs" <<'JS'
import { CronTime } from "cron";
import { CronExpressionParser } from "cron-parser";
import { Cron } from "croner";
import { DateTime } from "luxon";

const zone = "Europe/Berlin", daily = "30 2 * * *";
const libraries = {
  croner: (start) => new Cron(daily, { timezone: zone, paused: true }).nextRuns(5, start),
  cron: (start) => {
    const times = new CronTime(daily, zone), runs = [DateTime.fromJSDate(start, { zone })];
    while (runs.length < 6) runs.push(times.getNextDateFrom(runs.at(-1), zone));
    return runs.slice(1).map((run) => run.toJSDate());
  },
  "cron-parser": (start) => CronExpressionParser.parse(daily, { currentDate: start, tz: zone }).take(5).map((run) => run.toDate()),
};
const on = (day, runs) => {
  const before = new Date(Date.parse(`${day}T11:00:00Z`) - 2 * 86_400_000);
  const there = runs(before).map((run) => run.toISOString()).filter((run) => run.startsWith(day));
  return there.map((run) => run.slice(11, 16)).join(" ");
};
for (const [name, runs] of Object.entries(libraries))
  console.log(`${name}: back ${on("2027-10-31", runs)}, forward ${on("2027-03-28", runs)}`);
JS
    node "$WORK/runs.mjs"
} | as_described
