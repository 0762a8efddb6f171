#!/usr/bin/env bash
# roots.sh SUITE…: makes a bare Debian of each suite with the XMPP servers and PostgreSQL in it, for tests/lab to start them from (LAB_RELEASE=SUITE).
# roots.sh --in SUITE FOLDER COMMAND…: runs a command there, which sees the folder as /mnt.
# As root. They are made once and kept in LAB_ROOTS, by default ephemerd/roots in the user's cache; afterwards no network is needed.
# Everything is mounted in namespaces of their own, which end with their last process: there is nothing to unmount, however a test ends.
set -euo pipefail
roots="${LAB_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/ephemerd/roots}"
packages="prosody lua-dbi-postgresql lua-dbi-sqlite3 lua-check ejabberd erlang-p1-pgsql postgresql"
# What stands around a large database: ./dev test --ha.
declare -A more=([trixie]="patroni python3-etcd etcd-server haproxy pgbouncer pgpool2")
[ "$(id -u)" -eq 0 ] || { echo "roots.sh: only root can make them" >&2; exit 1; }

# inside ROOT LINE: a line for its shell.
inside() {
    unshare --mount sh -c 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" sh -c "$1"' "$1" "$2"
}

make() {
    local suite=$1 packages=$2 root="$roots/$1.new"
    rm -rf "$root"
    unshare --mount debootstrap --variant=minbase "$suite" "$root"
    # No server is started while it is installed.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    # A mirror's copy of unstable may be older than its Release file allows; nothing else is taken on trust for that.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99mirror"
    # ejabberd's own set-up wants a running systemd, and nothing here needs what it would have done.
    inside "$root" "export DEBIAN_FRONTEND=noninteractive LC_ALL=C
        apt-get update && apt-get install -y --no-install-recommends $packages
        apt-get clean; dpkg --configure -a || true
        test -x /usr/bin/prosody && test -d /usr/share/ejabberd/sql && ls /usr/lib/postgresql/*/bin/initdb"
    echo "$packages" >"$root/complete"
    mv "$root" "$roots/$suite"
}

if [ "${1-}" = --in ]; then
    root="$roots/$2" folder=$(realpath "$3")
    shift 3
    exec unshare --mount sh -c 'root=$1; mount --bind -o ro "$0" "$root/mnt" && shift && cd / && exec chroot "$root" "$@"' "$folder" "$root" "$@"
fi

mkdir -p "$roots"
# Two at once would remove each other's.
exec 9>"$roots/lock"
flock 9
for suite in "$@"; do
    wanted="$packages${more[$suite]:+ ${more[$suite]}}"
    if [ "$(cat "$roots/$suite/complete" 2>/dev/null)" != "$wanted" ]; then
        echo "Making a Debian ($suite) with its servers in $roots: some minutes, once." >&2
        rm -rf "${roots:?}/$suite"
        # Without the names of mirrors, which are a machine's own affair.
        make "$suite" "$wanted" >"$roots/$suite.log" 2>&1 || { tail -n 20 "$roots/$suite.log" | sed 's#[a-z]*://[^ ]*#…#g' >&2; exit 1; }
    fi
done
