#!/usr/bin/env bash
# run.sh PROGRAMS ARGS…: real clients beside real servers, in namespaces of their own: nothing leaves the machine, and nothing outlives the run.
# As root. ARGS go to run.py; PROGRAMS is where `ephemerd` and `stage` are. Debians and Python packages are installed once and kept.
set -euo pipefail
programs=$(realpath "$1")
shift
here=$(realpath "$(dirname "$0")")
cache="${XDG_CACHE_HOME:-$HOME/.cache}/ephemerd/clients"
packages=(pyte==0.8.2 slixmpp==1.17.0)
[ "$(id -u)" -eq 0 ] || { echo "run.sh: only root can make namespaces and roots" >&2; exit 1; }

suites=(bookworm trixie)
# Unstable only where --suite names it: it may not be installable today.
[[ " $* " != *unstable* ]] || suites+=(unstable)
"$here/roots.sh" "${suites[@]}"
if [ "$(cat "$cache/complete" 2>/dev/null)" != "${packages[*]}" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >"$cache/log" 2>&1 ||
        { echo "run.sh: pip could not install ${packages[*]}" >&2; exit 1; }
    echo "${packages[*]}" >"$cache/complete"
fi
# shellcheck disable=SC2016 # Expanded within.
unshare --net --pid --fork --kill-child --mount-proc sh -c 'ip link set lo up && exec "$@"' sh \
    "$cache/venv/bin/python" "$here/run.py" "$programs" "$@"
python3 "$here/draw.py"
