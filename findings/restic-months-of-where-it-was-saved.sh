#!/usr/bin/env bash
# restic keeps one snapshot for each month of the time zone in which each was taken, and shows them in the zone of whoever looks.
#
# Version: restic 0.18.0-1+b4 (Debian 13).
# Guess: `forget --keep-monthly` counts months in the zone in which its list shows the times, that of the machine that it runs on.
# Behaviour: each snapshot has the offset that was in force where it was taken, and days, weeks, months and years are reckoned by that.
#   Of what was taken at UTC, seen from Tokyo, nothing of January is kept and two of March, with "monthly snapshot" beside both.
#   Where machines of several zones save the same folders for one host, or one has moved, the months of one list do not agree.
# Seen, with --keep-monthly 3:
# | in UTC: kept 01-31 23:30, 02-29 23:30, 03-31 12:00; dropped 01-31 12:00, 02-29 12:00
# | in Asia/Tokyo: kept 02-01 08:30, 03-01 08:30, 03-31 21:00; dropped 01-31 21:00, 02-29 21:00
. "$(dirname "$0")/lib.sh"

programs python3
debian_13 restic=0.18.0-1+b4
restic=$WORK/debian-13/usr/bin/restic
export HOME=$WORK RESTIC_PASSWORD=unused RESTIC_REPOSITORY=$WORK/repository

mkdir "$WORK/words"
echo words >"$WORK/words/file"
"$restic" init --quiet >>"$WORK/log" 2>&1 || fail "restic: $(tail -3 "$WORK/log")"
for time in "01-31 12:00" "01-31 23:30" "02-29 12:00" "02-29 23:30" "03-31 12:00"; do
    TZ=UTC "$restic" backup --quiet --time "2024-$time:00" "$WORK/words" >>"$WORK/log" 2>&1 || fail "restic: $(tail -3 "$WORK/log")"
done

# What would be kept and dropped, as shown in a time zone.
forget() {
    TZ=$1 "$restic" forget --dry-run --keep-monthly 3 2>>"$WORK/log" | python3 -c '
import re, sys
kept, dropped = re.split(r"^remove \d+ snapshots:$", sys.stdin.read(), maxsplit=1, flags=re.MULTILINE)
times = [", ".join(re.findall(r"2024-(\d\d-\d\d \d\d:\d\d)", part)) for part in (kept, dropped)]
print(f"in {sys.argv[1]}: kept {times[0]}; dropped {times[1]}")' "$1"
}

{
    forget UTC
    forget Asia/Tokyo
} | as_described
