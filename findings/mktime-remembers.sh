#!/usr/bin/env bash
# Which of two equal local hours mktime means depends on what it was asked before.
#
# Version: glibc 2.36-9+deb12u14, Lua 5.4.4, Erlang/OTP 25.2.3 (Debian 12), and its Python 3.
# Guess: without a word on summer time mktime takes the first of the two hours of an autumn night, or the second, but always the same.
# Behaviour: glibc starts its search from the offset of its last answer, whoever in the process asked. After a time in July half
#   past one is in summer time, after one in January it is an hour later. Python's time.mktime, Lua's os.time and Erlang's
#   local_time_to_universal_time show it as it is; PostgreSQL has rules of its own.
# Seen, 01:30 on 2026-11-01 in New York, in UTC, after a question about July, January and July again:
# | Python: 05:30 06:30 05:30
# | Lua: 05:30 06:30 05:30
# | Erlang: 05:30 06:30 05:30
# | PostgreSQL: 06:30 06:30 06:30
. "$(dirname "$0")/lib.sh"

debian libc6=2.36-9+deb12u14 erlang-base=1:25.2.3+dfsg-1+deb12u4 lua5.4=5.4.4-3+deb12u1
programs erl python3 lua5.4
postgres_15
export TZ=America/New_York

by_python() {
    python3 -c 'if True:
        import time
        def seconds(month, hour, minute):
            return time.mktime((2026, month, 1, hour, minute, 0, 0, 0, -1))
        for month in 7, 1, 7:
            seconds(month, 12, 0)
            print(time.strftime("%H:%M", time.gmtime(seconds(11, 1, 30))), end=" ")'
}
by_lua() {
    lua5.4 -e 'for _, month in ipairs { 7, 1, 7 } do
        os.time { year = 2026, month = month, day = 1, hour = 12 }
        io.write(os.date("!%H:%M ", os.time { year = 2026, month = 11, day = 1, hour = 1, min = 30 }))
    end'
}
by_erlang() {
    erl -noshell -eval '[begin
            calendar:local_time_to_universal_time({{2026, Month, 1}, {12, 0, 0}}),
            {_, {Hour, Minute, _}} = calendar:local_time_to_universal_time({{2026, 11, 1}, {1, 30, 0}}),
            io:format("~2..0w:~2..0w ", [Hour, Minute])
        end || Month <- [7, 1, 7]], halt().'
}
by_postgresql() {
    local month
    for month in 7 1 7; do
        echo "SELECT '2026-$month-01 12:00'::timestamp AT TIME ZONE '$TZ' \\g $WORK/log"
        echo "SELECT to_char('2026-11-01 01:30'::timestamp AT TIME ZONE '$TZ', 'HH24:MI');"
    done | "${PSQL[@]}" | tr '\n' ' '
}

for one in Python Lua Erlang PostgreSQL; do
    answers=$("by_${one,,}")
    echo "$one: ${answers% }"
done | as_described
