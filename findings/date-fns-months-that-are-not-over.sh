#!/usr/bin/env bash
# date-fns counts two months from 29 December to 28 February of a leap year, and three from 31 December to 30 April.
#
# Version: date-fns 4.4.0, luxon 3.7.2, moment 2.31.0, dayjs 1.11.23 (npm).
# Guess: differenceInMonths is the greatest number of months that, added to the start by addMonths, do not go past the end.
# Behaviour: from the 29th to the 31st of a month to 28 February it is a month too many, as if every February ended with it,
#   and from the 31st to the last of a month with 30 days it is one too few, unless it is the next month. What is to be kept for two months
#   goes a day early, or stays a day longer. The other three count as they add.
# Seen, of the 8385 pairs of an earlier and a later day from 25 December 2023 to 2 May 2024:
# | 2023-12-29 to 2024-02-28: date-fns 2, luxon 1, moment 1, dayjs 1
# | 2023-12-29 and 2 months: 2024-02-29
# | 2023-12-31 to 2024-04-30: date-fns 3, luxon 4, moment 4, dayjs 4
# | 2023-12-31 and 4 months: 2024-04-30
# | date-fns: of 8385 pairs 6 have a month too many, 2 one too few
# | luxon: of 8385 pairs 0 have a month too many, 0 one too few
# | moment: of 8385 pairs 0 have a month too many, 0 one too few
# | dayjs: of 8385 pairs 0 have a month too many, 0 one too few
. "$(dirname "$0")/lib.sh"

node_packages date-fns@4.4.0 luxon@3.7.2 moment@2.31.0 dayjs@1.11.23

cat >"$WORK/months.mjs" <<'JS'
import { addMonths, differenceInMonths } from "date-fns";
import dayjs from "dayjs";
import { DateTime } from "luxon";
import moment from "moment";

const at = (date) => DateTime.fromJSDate(date, { zone: "utc" });
const count = {
  "date-fns": (start, end) => differenceInMonths(end, start),
  luxon: (start, end) => Math.trunc(at(end).diff(at(start), "months").months),
  moment: (start, end) => moment(end).diff(start, "months"),
  dayjs: (start, end) => dayjs(end).diff(start, "month"),
};
const add = {
  "date-fns": addMonths,
  luxon: (start, months) => at(start).plus({ months }),
  moment: (start, months) => moment(start).add(months, "months"),
  dayjs: (start, months) => dayjs(start).add(months, "month"),
};
const day = (date) => date.toISOString().slice(0, 10);

for (const [start, end, months] of [["2023-12-29", "2024-02-28", 2], ["2023-12-31", "2024-04-30", 4]]) {
  const counts = Object.entries(count).map(([name, of]) => `${name} ${of(new Date(start), new Date(end))}`);
  console.log(`${start} to ${end}: ${counts.join(", ")}`);
  console.log(`${start} and ${months} months: ${day(addMonths(new Date(start), months))}`);
}

const days = Array.from({ length: 130 }, (_, n) => new Date(Date.UTC(2023, 11, 25 + n)));
const pairs = days.flatMap((start, n) => days.slice(n + 1).map((end) => [start, end]));
for (const [name, of] of Object.entries(count)) {
  const past = (start, end, more) => +add[name](start, of(start, end) + more) > +end;
  const many = pairs.filter(([start, end]) => past(start, end, 0));
  const few = pairs.filter(([start, end]) => !past(start, end, 1));
  console.log(`${name}: of ${pairs.length} pairs ${many.length} have a month too many, ${few.length} one too few`);
}
JS
TZ=UTC node "$WORK/months.mjs" | as_described
