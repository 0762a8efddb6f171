#!/usr/bin/env bash
# Prosody reads a time in UTC an hour wrong, where clocks have been moved for good since.
#
# Version: Prosody 0.12.3 (Debian 12), by util.datetime, with any tzdata since 2024.
# Guess: `datetime.parse` of a time that ends in Z gives the same number wherever the server is.
# Behaviour: it goes by way of local time, with the offset that the zone has now. Where the zone's own offset was another one at that time
#   (summer time is no such case) the number is wrong by the difference: Kazakhstan before March 2024, Russia from 2011 to
#   2014. A query of the archive by `start` and `end` misses or repeats an hour there. With TZ=UTC for the server it is right.
#   Fractions of a second are dropped.
# Seen:
# | UTC: 2024-01-01T00:00:00Z is right
# | UTC: 2012-01-01T00:00:00Z is right
# | Europe/Berlin: 2024-01-01T00:00:00Z is right
# | Europe/Berlin: 2012-01-01T00:00:00Z is right
# | Asia/Almaty: 2024-01-01T00:00:00Z is 3600 s early
# | Asia/Almaty: 2012-01-01T00:00:00Z is 3600 s early
# | Europe/Moscow: 2024-01-01T00:00:00Z is right
# | Europe/Moscow: 2012-01-01T00:00:00Z is 3600 s early
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1

for zone in UTC Europe/Berlin Asia/Almaty Europe/Moscow; do
    [ -f "/usr/share/zoneinfo/$zone" ] || fail "needs tzdata, which has no $zone: apt-get install tzdata"
    export TZ=$zone
    prosody_module 'VirtualHost "localhost"' <<'LUA'
local datetime = require "util.datetime";
local out = assert(io.open(prosody.paths.data .. "/out", "w"));
for _, it in ipairs({ { "2024-01-01T00:00:00Z", 1704067200 }, { "2012-01-01T00:00:00Z", 1325376000 } }) do
	local early = it[2] - datetime.parse(it[1]);
	out:write(os.getenv("TZ"), ": ", it[1], " is ", early == 0 and "right" or string.format("%d s early", early), "\n");
end
out:close();
module:add_timer(0.1, function () prosody.shutdown("done"); end);
LUA
    cat "$WORK/prosody/data/out" >>"$WORK/seen"
done
as_described <"$WORK/seen"
