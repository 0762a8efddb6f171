#!/usr/bin/env bash
# Three libraries for cron run a line rarely that cron runs every week, and one of them a day late.
#
# Version: APScheduler 3.11.3, croniter 7.0.0, cronsim 2.8, cron-converter 2.0.2 (PyPI), cron 4.4.0, cron-parser 5.10.6, croner 11.0.1,
#   cron-schedule 6.0.0, cronosjs 1.7.1, @breejs/later 4.2.0 (npm), with Node 20 or later.
# Guess: whatever reads crontab lines reads them as crontab(5) of Debian says: with both a day of the month and a day of the week, on either,
#   unless one of them begins with a star, then on both; and 5 is Friday.
# Behaviour: cron-converter, later and APScheduler's from_crontab always want both, so "0 0 13 * 5" is months away, and to APScheduler 5 is
#   Saturday. All others but cronsim run "0 0 */2 * 5" on either, so on every other day and each Friday instead of on Fridays with an odd date.
# Seen, "0 0 13 * 5" and "0 0 */2 * 5" from 2026-11-01 on:
# | croniter: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | cronsim: Fri 2026-11-06, Fri 2026-11-13; Fri 2026-11-13, Fri 2026-11-27
# | cron-converter: Fri 2026-11-13, Fri 2027-08-13; Fri 2026-11-13, Fri 2026-11-27
# | APScheduler: Sat 2027-02-13, Sat 2027-03-13; Sat 2026-11-07, Sat 2026-11-21
# | cron: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | cron-parser: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | croner: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | cron-schedule: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | cronosjs: Fri 2026-11-06, Fri 2026-11-13; Tue 2026-11-03, Thu 2026-11-05
# | later: Fri 2026-11-13, Fri 2027-08-13; Fri 2026-11-13, Fri 2026-11-27
. "$(dirname "$0")/lib.sh"

python apscheduler==3.11.3 croniter==7.0.0 cronsim==2.8 cron-converter==2.0.2
node_packages cron@4.4.0 cron-parser@5.10.6 croner@11.0.1 cron-schedule@6.0.0 cronosjs@1.7.1 @breejs/later@4.2.0

export TZ=UTC
cat >"$WORK/lines.py" <<'PY'
from datetime import datetime, timezone
from itertools import islice

from apscheduler.triggers.cron import CronTrigger
from cron_converter import Cron
from croniter import croniter
from cronsim import CronSim

LINES, START = ("0 0 13 * 5", "0 0 */2 * 5"), datetime(2026, 11, 1, tzinfo=timezone.utc)


def repeated(ask):
    while True:
        yield ask()


def apscheduler(line):
    trigger, last = CronTrigger.from_crontab(line, timezone="UTC"), None
    while True:
        last = trigger.get_next_fire_time(last, last or START)
        yield last


for name, runs in {
    "croniter": lambda line: croniter(line, START).all_next(datetime),
    "cronsim": lambda line: CronSim(line, START),
    "cron-converter": lambda line: repeated(Cron(line).schedule(START).next),
    "APScheduler": apscheduler,
}.items():
    print(f"{name}: " + "; ".join(", ".join(f"{run:%a %Y-%m-%d}" for run in islice(runs(line), 2)) for line in LINES))
PY
cat >"$WORK/lines.cjs" <<'JS'
const { CronTime } = require("cron");
const { DateTime } = require("luxon");
const { CronExpressionParser } = require("cron-parser");
const { Cron } = require("croner");
const { parseCronExpression } = require("cron-schedule");
const { CronosExpression } = require("cronosjs");
const later = require("@breejs/later");

const lines = ["0 0 13 * 5", "0 0 */2 * 5"], start = new Date("2026-11-01T00:00:00Z");
const of = {
  "cron": (line) => {
    const time = new CronTime(line, "UTC"), runs = [];
    for (let last = DateTime.fromJSDate(start, { zone: "UTC" }); runs.length < 2; runs.push(last)) last = time.getNextDateFrom(last, "UTC");
    return runs.map((run) => run.toJSDate());
  },
  "cron-parser": (line) => CronExpressionParser.parse(line, { currentDate: start, tz: "UTC" }).take(2).map((run) => run.toDate()),
  "croner": (line) => new Cron(line, { timezone: "UTC" }).nextRuns(2, start),
  "cron-schedule": (line) => parseCronExpression(line).getNextDates(2, start),
  "cronosjs": (line) => CronosExpression.parse(line, { timezone: "UTC" }).nextNDates(start, 2),
  "later": (line) => later.schedule(later.parse.cron(line)).next(2, start),
};
for (const [name, runs] of Object.entries(of))
  console.log(`${name}: ` + lines.map((line) =>
    runs(line).map((run) => `${run.toUTCString().slice(0, 3)} ${run.toISOString().slice(0, 10)}`).join(", ")).join("; "));
JS
{ python3 "$WORK/lines.py"; node "$WORK/lines.cjs"; } 2>>"$WORK/log" | as_described
