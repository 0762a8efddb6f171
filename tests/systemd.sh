#!/usr/bin/env bash
# systemd.sh PROGRAM: tests the unit under a systemd of its own, booted in a bare Debian: start, reload,
# secrets, and what happens when the daemon is killed, hangs, or has an invalid configuration. It has no network
# and no database, which the unit does not care about. As root; it stops what it started, however it ends.
set -euo pipefail
# No grep -q behind a pipe: it would end the writer early, which counts as a failure.
cd "$(dirname "$0")/.."
base=target/deploy/systemd
if [ ! -e "$base/complete" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps bookworm "$base" >/dev/null
    touch "$base/complete"
fi
root=$(mktemp -d)
machine=
trap '[ -z "$machine" ] || kill -9 "$machine" 2>/dev/null; rm -rf "$root"' EXIT
cp -a "$base/." "$root"
chmod 755 "$root"
install -m 755 "$1" "$root/usr/bin/ephemerd"
install -m 644 deploy/ephemerd.service "$root/usr/lib/systemd/system/"
install -m 644 deploy/ephemerd.sysusers.conf "$root/usr/lib/sysusers.d/ephemerd.conf"
install -m 644 deploy/ephemerd.tmpfiles.conf "$root/usr/lib/tmpfiles.d/ephemerd.conf"
mkdir "$root/etc/ephemerd"
for secret in component.secret database.password; do
    (umask 077 && echo words >"$root/etc/ephemerd/$secret")
done
cat >"$root/etc/ephemerd/ephemerd.toml" <<'TOML'
component = { jid = "ephemerd.example.org", server = "127.0.0.1:5347", secret_file = "/etc/ephemerd/component.secret" }
database = { url = "postgres://ephemerd@127.0.0.1/prosody" }
archive = { kind = "prosody", hosts = ["example.org"] }
TOML

# For machines with version 1 of control groups: systemd 252 does not detect it.
[ -e /sys/fs/cgroup/cgroup.controllers ] || export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=0
setpriv --pdeathsig KILL systemd-nspawn --quiet --directory "$root" --register=no --keep-unit --private-network --boot \
    --console=pipe </dev/null >"$root/console" 2>&1 &
machine=$!

inside() { nsenter -t "$leader" -m -u -i -n -p -- "$@"; }
shows() { inside systemctl show ephemerd --value --property "$1"; }
fail() {
    echo "$*" >&2
    inside journalctl --unit ephemerd --no-pager --lines 30 >&2
    exit 1
}
# until_so SECONDS WHAT COMMAND…
until_so() {
    local tries=$1 what=$2
    shift 2
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail "timed out: $what"
        sleep 1
    done
    printf '%5d s  %s\n' "$SECONDS" "$what"
}
is() { [ "$(shows "$1")" = "$2" ]; }
runs_again() { is NRestarts "$1" && is SubState running; }
booted() {
    leader=$(awk '{ print $1 }' "/proc/$machine/task/$machine/children")
    [ -n "$leader" ] && inside systemctl is-system-running | grep -E 'running|degraded' >/dev/null
}

leader=
until_so 120 "systemd is up" booted
inside systemd-sysusers ephemerd.conf
inside systemd-tmpfiles --create ephemerd.conf
inside systemctl daemon-reload
inside systemctl start ephemerd || fail "it does not start"
until_so 1 "READY: started" is SubState running

process=$(shows MainPID)
[ "$(inside ps -o user= -p "$process")" = ephemerd ] || fail "it runs as another user"
seen=$(inside stat -c '%a %U' /run/credentials/ephemerd.service/component.secret /etc/ephemerd/component.secret)
[ "$seen" = $'400 ephemerd\n600 root' ] || fail "the secrets: $seen"
inside systemctl reload ephemerd
reloaded() { inside journalctl --unit ephemerd --no-pager | grep "configuration reloaded" >/dev/null; }
until_so 10 "reloaded" reloaded
is MainPID "$process" || fail "the reload restarted it"

inside kill -KILL "$process"
until_so 30 "killed: runs again" runs_again 1
inside kill -STOP "$(shows MainPID)"
until_so 90 "hung: runs again" runs_again 2
inside journalctl --unit ephemerd --no-pager | grep "Watchdog timeout" >/dev/null || fail "it was not the watchdog"

inside sed -i 's/"prosody"/"nothing"/' /etc/ephemerd/ephemerd.toml
! inside systemctl restart ephemerd 2>/dev/null || fail "it starts with an invalid configuration"
sleep 8 # RestartSec is 5 s
is ExecMainStatus 3 && is SubState failed || fail "it was started again after exit code 3"
printf '%5d s  %s\n' "$SECONDS" "faulty: stays down"
inside sed -i 's/"nothing"/"prosody"/' /etc/ephemerd/ephemerd.toml
inside systemctl start ephemerd || fail "it does not start once fixed"
inside systemctl stop ephemerd
is Result success || fail "it does not stop cleanly"
kill -9 "$leader"
echo "1 passed, 0 failed"
