#!/usr/bin/env bash
# Usage: tests/again.sh COMMAND…, for example tests/again.sh cargo test --workspace
#
# Runs the tests, then once more, alone, what failed of them: with all of them at once on a small machine, one may run out of its
# time. What fails alone, too, fails, and so does everything if more than a few failed. What passed only alone is named: somebody
# has to look into it.
set -uo pipefail

readonly most=3

log=$(mktemp)
trap 'rm -f "$log"' EXIT

"$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
[ "$code" -ne 0 ] || exit 0

mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
# Who chose among them, after --, sees what failed.
[[ " $* " != *" -- "* ]] || exit "$code"
[ "${#failed[@]}" -gt 0 ] && [ "${#failed[@]}" -le "$most" ] || exit "$code"

for name in "${failed[@]}"; do
    echo "Once more, alone: $name" >&2
    "$@" -- --exact --test-threads 1 "$name" 2>&1 | tee "$log"
    alone=${PIPESTATUS[0]}
    [ "$alone" -eq 0 ] && grep -qx "test $name \.\.\. ok" "$log" || exit "$code"
done
printf 'Passed only when it ran alone, so look into it: %s\n' "${failed[@]}" >&2
