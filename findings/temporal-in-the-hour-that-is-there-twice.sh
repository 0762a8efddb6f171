#!/usr/bin/env bash
# From the second 02:00 on the day on which the clocks go back, both polyfills of Temporal count an hour that is over already.
#
# Version: temporal-polyfill 1.0.8, @js-temporal/polyfill 0.5.1 (npm).
# Guess: start.add(start.until(end)) is the end, in hours and in days and hours, from every time to every other.
# Behaviour: in days and hours, from a time in the second of the two hours, the difference is an hour too great, backwards too small,
#   if the end is less than a day away by the clock on the wall: with temporal-polyfill on the day before or after, with
#   @js-temporal/polyfill on the same day too. The latter also throws RangeError between the two hours. In hours alone all is right.
# Seen, Europe/Berlin, 2024-10-27, and the round trips of all pairs of half hours from 25 to 29 October:
# | temporal-polyfill, 02:00+01 to 03:00+01: PT1H, which leads to 03:00+01
# | temporal-polyfill, 02:00+01 to 00:00+01: PT23H, which leads to 01:00+01
# | temporal-polyfill, 02:30+02 to 02:00+01: PT30M, which leads to 02:00+01
# | temporal-polyfill: 57600 pairs, 94 lead elsewhere, 0 throw; in hours 0 and 0
# | @js-temporal/polyfill, 02:00+01 to 03:00+01: PT2H, which leads to 04:00+01
# | @js-temporal/polyfill, 02:00+01 to 00:00+01: PT23H, which leads to 01:00+01
# | @js-temporal/polyfill, 02:30+02 to 02:00+01: RangeError
# | @js-temporal/polyfill: 57600 pairs, 190 lead elsewhere, 3 throw; in hours 0 and 0
. "$(dirname "$0")/lib.sh"

node_packages temporal-polyfill@1.0.8 @js-temporal/polyfill@0.5.1 jsbi@4.3.2

cat >"$WORK/trips.mjs" <<'JS'
import { Temporal as reference } from "@js-temporal/polyfill";
import { Temporal as small } from "temporal-polyfill";

const clock = (time) => time.toString().slice(11, 16) + time.offset.slice(0, 3);
for (const [name, Temporal] of [["temporal-polyfill", small], ["@js-temporal/polyfill", reference]]) {
  const berlin = (instant) => Temporal.Instant.from(instant).toZonedDateTimeISO("Europe/Berlin");
  const trip = (start, end, largestUnit) => {
    try {
      const difference = start.until(end, { largestUnit });
      return { difference, there: start.add(difference) };
    } catch (error) {
      return { error: error.name };
    }
  };
  for (const [from, to] of [["27T01:00", "27T02:00"], ["27T01:00", "27T23:00"], ["27T00:30", "27T01:00"]]) {
    const start = berlin(`2024-10-${from}Z`), end = berlin(`2024-10-${to}Z`);
    const { difference, there, error } = trip(start, end, "days");
    console.log(`${name}, ${clock(start)} to ${clock(end)}: ${error ?? `${difference}, which leads to ${clock(there)}`}`);
  }
  const times = Array.from({ length: 240 }, (_, n) => berlin(new Date(Date.UTC(2024, 9, 25, 0, 30 * n)).toISOString()));
  const count = (unit) => {
    const all = times.flatMap((start) => times.map((end) => ({ end, ...trip(start, end, unit) })));
    return [all.filter(({ there, end }) => there && !there.equals(end)).length, all.filter(({ error }) => error).length];
  };
  const [elsewhere, thrown] = count("days"), hours = count("hours");
  console.log(`${name}: ${times.length ** 2} pairs, ${elsewhere} lead elsewhere, ${thrown} throw; in hours ${hours.join(" and ")}`);
}
JS
node "$WORK/trips.mjs" | as_described
