#!/usr/bin/env bash
# An MQTT broker writes messages to disk whose expiry has passed, as long as nobody asks for them.
#
# Version: mosquitto 2.0.11.
# Guess: a message with a Message Expiry Interval is in no file that the broker writes after that interval.
# Behaviour: nobody receives it any more, but a retained message stays in memory, and goes into each save, until somebody subscribes to
#   its topic; one that waits for an absent client, until that client connects. Neither time nor another save removes them, and the
#   broker writes them once more when it stops. Only a start drops what has expired.
# Seen, texts in the saved file:
# | before they expire: 2
# | a save 2 s after they expired: 2
# | another save: 2
# | a subscriber of another topic, a save: 2
# | a subscriber of the retained one (received 0), a save: 1
# | the absent client has come (received 0), a save: 0
# | another one has expired, stopped: 1
# | started again, stopped: 0
. "$(dirname "$0")/lib.sh"

debian mosquitto=2.0.11-1.2+deb12u2 mosquitto-clients=2.0.11-1.2+deb12u2
programs mosquitto mosquitto_pub mosquitto_sub

PORT=$(python3 -c 'import socket; it = socket.socket(); it.bind(("127.0.0.1", 0)); print(it.getsockname()[1])')
chmod 777 "$WORK"
cat >"$WORK/mosquitto.conf" <<CONF
listener $PORT 127.0.0.1
allow_anonymous true
persistence true
persistence_location $WORK/
autosave_interval 0
CONF

start() {
    mosquitto -c "$WORK/mosquitto.conf" >>"$WORK/log" 2>&1 &
    SERVERS=($!)
    for _ in $(seq 100); do
        mosquitto_pub -p "$PORT" -t started -n 2>>"$WORK/log" && return
        sleep 0.1
    done
    fail "mosquitto did not start: $(tail -3 "$WORK/log")"
}

stop() {
    kill "${SERVERS[0]}"
    wait "${SERVERS[0]}" || true
}

texts() {
    grep -ao 'meet me at the bridge' "$WORK/mosquitto.db" | wc -l
}

saved() {
    rm -f "$WORK/mosquitto.db"
    kill -USR1 "${SERVERS[0]}"
    for _ in $(seq 100); do
        [ -s "$WORK/mosquitto.db" ] && break
        sleep 0.1
    done
    sleep 0.2
    echo "$1: $(texts)"
}

# How many arrive within a second.
received() {
    timeout 1 mosquitto_sub -V 5 -p "$PORT" "$@" -F %p 2>>"$WORK/log" | grep -c bridge || true
}

expiring() {
    mosquitto_pub -V 5 -p "$PORT" -q 1 -m 'meet me at the bridge' -D publish message-expiry-interval 3 "$@"
}

absent=(-i absent -c -q 1 -t inbox -x 1000)
start
mosquitto_sub -V 5 -p "$PORT" "${absent[@]}" -E
expiring -r -t board/one
expiring -t inbox
{
    saved "before they expire"
    sleep 5
    saved "a save 2 s after they expired"
    saved "another save"
    received -t other/one >/dev/null
    saved "a subscriber of another topic, a save"
    saved "a subscriber of the retained one (received $(received -t board/one)), a save"
    saved "the absent client has come (received $(received "${absent[@]}")), a save"
    expiring -r -t board/two
    sleep 5
    stop
    echo "another one has expired, stopped: $(texts)"
    start
    stop
    echo "started again, stopped: $(texts)"
    SERVERS=()
} >"$WORK/seen"
as_described <"$WORK/seen"
