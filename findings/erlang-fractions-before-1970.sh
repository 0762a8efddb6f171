#!/usr/bin/env bash
# Erlang reads half a second before 1970 as a second and a half before it.
#
# Version: stdlib of Erlang/OTP 25.2.3 (Debian 12).
# Guess: calendar:rfc3339_to_system_time gives the time that was written in the unit that is asked for, and rounds down to seconds.
# Behaviour: before 1970 the seconds are counted from below and the fraction from above, when reading and when writing. Reading, each
#   time comes out earlier by twice its fraction; writing, half a second before 1970 becomes half a second after it, so that a time
#   that is written and read again is another one. Times since 1970 are right.
# Seen, read in milliseconds, and written and read again:
# | 1970-01-01T00:00:00.500Z: 500
# | 1969-12-31T23:59:59.500Z: -1500
# | 1969-12-31T23:59:58.250Z: -2250
# | -500 is written as 1970-01-01T00:00:00.500Z and read as 500
. "$(dirname "$0")/lib.sh"

debian erlang-base=1:25.2.3+dfsg-1+deb12u4
programs erl erlc

cat >"$WORK/finding.erl" <<'ERLANG'
-module(finding).
-export([main/0]).

main() ->
    [io:format("~s: ~w~n", [Time, read(Time)])
     || Time <- ["1970-01-01T00:00:00.500Z", "1969-12-31T23:59:59.500Z", "1969-12-31T23:59:58.250Z"]],
    Written = calendar:system_time_to_rfc3339(-500, [{unit, millisecond}, {offset, "Z"}]),
    io:format("-500 is written as ~s and read as ~w~n", [Written, read(Written)]).

read(Time) ->
    calendar:rfc3339_to_system_time(Time, [{unit, millisecond}]).
ERLANG
erlc -o "$WORK" "$WORK/finding.erl"

erl -noshell -pa "$WORK" -eval "finding:main(), halt()." 2>>"$WORK/log" | as_described
