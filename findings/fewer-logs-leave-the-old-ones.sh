#!/usr/bin/env bash
# With `rotate` lowered from 5 to 2, logrotate keeps the fourth and the fifth log for ever; with `compress` added, all but the first.
#
# Version: logrotate 3.21.0-1 and CPython 3.11 (python3.11 3.11.2-6+deb12u6) of Debian 12, log4js 6.9.1 (npm).
# Guess: at the next rotation what is beyond the new number goes, and what is not compressed counts as well.
# Behaviour: logrotate deletes the one file that would get a number too high, and looks for nothing beyond it, nor for names without
#   the ending that it gives now. Python's RotatingFileHandler deletes nothing at all, and writes over what gets in its way.
#   A shorter time for logs is not in force for those that are there. log4js deletes all that are beyond it.
# Seen, of app.log and app.log.1 to app.log.5, after two are to be kept, and the next rotation:
# | logrotate: app.log.1 app.log.2 app.log.4 app.log.5
# | logrotate, compress added: app.log.1.gz app.log.2 app.log.3 app.log.4 app.log.5
# | Python: app.log.1 app.log.2 app.log.3 app.log.4 app.log.5
# | log4js: app.log.1 app.log.2
# Seen after ten more rotations:
# | logrotate: app.log.1 app.log.2 app.log.4 app.log.5
# | logrotate, compress added: app.log.1.gz app.log.2 app.log.2.gz app.log.3 app.log.4 app.log.5
# | Python: app.log.1 app.log.2 app.log.3 app.log.4 app.log.5
# | log4js: app.log.1 app.log.2
. "$(dirname "$0")/lib.sh"

debian python3.11=3.11.2-6+deb12u6
programs apt-get dpkg-deb python3.11
node_packages log4js@6.9.1
mkdir "$WORK/packages"
(cd "$WORK/packages" && apt-get -qq -o APT::Sandbox::User=root download logrotate=3.21.0-1 libpopt0=1.19+dfsg-1) >>"$WORK/log" 2>&1 || fail "apt-get could not download logrotate"
for package in "$WORK/packages"/*.deb; do
    dpkg-deb --extract "$package" "$WORK/debian"
done
libraries=$(echo "$WORK"/debian/usr/lib/*/libpopt.so.0)

cat >"$WORK/rotate.py" <<'PYTHON'
import logging.handlers
import sys

handler = logging.handlers.RotatingFileHandler(sys.argv[1], backupCount=2)
for _ in range(int(sys.argv[2])):
    handler.emit(logging.makeLogRecord({"msg": "words"}))
    handler.doRollover()
PYTHON
cat >"$WORK/rotate.mjs" <<'JS'
import log4js from "log4js";
const [filename, times] = process.argv.slice(2);
const appenders = { file: { type: "file", filename, maxLogSize: 1, backups: 2 } };
log4js.configure({ appenders, categories: { default: { appenders: ["file"], level: "info" } } });
for (let n = 0; n < times; n++) log4js.getLogger().info("words");
await new Promise((done) => log4js.shutdown(done));
JS

# Each rotates a log a number of times: NAME LOG TIMES.
rotate() {
    case $1 in
    logrotate*)
        printf '%s {\n rotate 2\n su %s %s\n' "$2" "$(id -un)" "$(id -gn)" >"$2.conf"
        [ "$1" = logrotate ] || echo compress >>"$2.conf"
        echo '}' >>"$2.conf"
        for _ in $(seq "$3"); do
            echo words >"$2"
            LD_LIBRARY_PATH=$(dirname "$libraries") "$WORK/debian/usr/sbin/logrotate" --force --state "$2.state" "$2.conf"
        done
        ;;
    Python) python3.11 "$WORK/rotate.py" "$2" "$3" ;;
    log4js) node "$WORK/rotate.mjs" "$2" "$3" ;;
    esac >>"$WORK/log" 2>&1
}

names=(logrotate "logrotate, compress added" Python log4js)
for name in "${names[@]}"; do
    mkdir -m 755 "$WORK/${name//[, ]/-}"
    echo words | tee "$WORK/${name//[, ]/-}"/app.log{,.{1..5}} >>"$WORK/log"
done
for times in 1 10; do
    for name in "${names[@]}"; do
        folder=$WORK/${name//[, ]/-}
        rotate "$name" "$folder/app.log" "$times"
        echo "$name: $(cd "$folder" && echo app.log.[1-9]*)"
    done
done | as_described
