#!/usr/bin/env bash
# `git reflog expire --expire=14d` means the 14th of this month: before that day everything goes. 90d is the year 1990, and nothing goes.
#
# Version: git 2.39.5 (Debian 12).
# Guess: 7d is the last seventh of a month, 1m is refused, and 90d is now, so that all goes.
# Behaviour: single letters are no units to git and are passed over without an error. What is left is a number: up to 31 a day of the month
#   that it is now, also when that day is still to come, else a year. In the future means that all is old: --expire=14d deletes
#   the whole reflog in the first thirteen days of a month, and later what is older than the 14th. 1m and 1y are both the first. `14.days`,
#   `14 days` and `14days` are as meant. --since and gc.reflogExpire read the same.
# Seen, on 2026-12-10 at noon, of a reflog with an entry at 18:00 on each of the ten days before:
# | 14.days: since 2026-11-26, 10 kept
# | 14d: since 2026-12-14, 0 kept
# | 7d: since 2026-12-07, 3 kept
# | 1w: since 2026-12-01, 9 kept
# | 1m: since 2026-12-01, 9 kept
# | 1y: since 2026-12-01, 9 kept
# | 90d: since 1990-12-10, 10 kept
. "$(dirname "$0")/lib.sh"

debian git=1:2.39.5-0+deb12u3

export TZ=UTC HOME=$WORK GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
# The day that git's reading of dates starts from.
GIT_TEST_DATE_NOW=$(date -d '2026-12-10 12:00' +%s)
export GIT_TEST_DATE_NOW

git_in() { /usr/bin/git -C "$WORK/$1" "${@:2}" 2>>"$WORK/log"; }

mkdir "$WORK/all"
git_in all init -q
for day in 2026-11-30 2026-12-0{1..9}; do
    GIT_COMMITTER_DATE="${day}T18:00:00Z" git_in all commit -q --allow-empty -m "$day"
done

for expire in 14.days 14d 7d 1w 1m 1y 90d; do
    rm -rf "$WORK/left"
    cp -r "$WORK/all" "$WORK/left"
    git_in left reflog expire --expire="$expire" HEAD
    since=$(git_in left rev-parse --since="$expire")
    echo "$expire: since $(date -d "@${since#*=}" +%F), $(wc -l <"$WORK/left/.git/logs/HEAD") kept"
done | as_described
