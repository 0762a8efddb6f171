#!/usr/bin/env bash
# A daily systemd timer at 02:30 does not run at all on the day on which the clocks go forward.
#
# Version: systemd 252 (Debian 12), systemd-analyze calendar.
# Guess: on a day without 02:30 the timer runs at 03:30.
# Behaviour: the day is left out. With the date written out the timer never elapses, and says so with exit code 0.
#   On the day with two 02:30 it runs once, at the first.
# Seen, Europe/Berlin, clocks going forward on 2027-03-28 and back on 2027-10-31:
# | Sat 2027-03-27 01:30:00 UTC
# | Mon 2027-03-29 00:30:00 UTC
# | 2027-03-28 02:30: never
# | Sun 2027-10-31 00:30:00 UTC
# | Mon 2027-11-01 01:30:00 UTC
. "$(dirname "$0")/lib.sh"

programs systemd-analyze
systemd-analyze --version | grep -q '^systemd 252 ' || fail "needs systemd 252: apt-get install systemd on Debian 12"

# The next two times of the daily timer after an instant.
two() {
    systemd-analyze calendar --iterations=2 --base-time="$1" '*-*-* 02:30 Europe/Berlin' | grep -o '... ....-..-.. ..:..:.. UTC'
}

{
    two '2027-03-26 12:00 UTC'
    never=$(systemd-analyze calendar '2027-03-28 02:30 Europe/Berlin' | sed -n 's/ *Next elapse: //p')
    echo "2027-03-28 02:30: $never"
    two '2027-10-30 12:00 UTC'
} | as_described
