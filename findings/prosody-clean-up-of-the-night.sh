#!/usr/bin/env bash
# Prosody 0.12 never expires an archive where the server is off over midnight UTC; 13 begins a second after its first start.
#
# Version: mod_cron of Prosody 0.12.3 (Debian 12) and 13.0.1-1+deb131u (Debian 13).
# Guess: a daily task that has never run runs right after the start; and when 0.12.3 was seen to wait: 13.0.1 waits as well.
# Behaviour: 0.12.3 takes a task that has never run for one that ran at midnight, UTC, and does not write that down. The first run is due
#   shortly before the next midnight, at an hourly look that comes with the process still the same. A server that is off at night, or that
#   is restarted each day half an hour after midnight UTC, has no first run: the archives, rooms and uploads whose `…expires_after` it counts
#   stay for ever, without a word in the log (but at debug). After one run it is written down, and made up for at a start.
#   13.0.1 runs what has never run at the first look: whoever upgrades, or sets a wrong period, has no day to notice.
# Seen, in 14 days, with a daily task and a look at it a second after each start and then each hour:
# | 0.12.3, always on: 13 runs, the first on day 2 at 00:00
# | 0.12.3, on from 08:00 to 22:00: 0 runs
# | 0.12.3, restarted at 00:30: 0 runs
# | 0.12.3, on from 08:00 to 22:00, but for one night: 13 runs, the first on day 2 at 00:00
# | 13.0.1, on from 08:00 to 22:00: 14 runs, the first on day 1 at 08:00
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1
debian_13 prosody=13.0.1-1+deb131u

cat >"$WORK/days.lua" <<'LUA'
local sources, version = arg[1], arg[2];
pcall(dofile, sources .. "/loader.lua");
local HOUR, DAY = 3600, 86400;
local now;

-- Starts mod_cron with one daily task, and what it has written down; returns what its timer calls.
local function start(store, task)
	local look;
	local host = {
		host = "localhost";
		open_store = function ()
			return { get = function (_, _, id) return store[id]; end; set = function (_, _, id, at) store[id] = at; end };
		end;
		handle_items = function (_, _, added) added({ item = task; source = { name = "mam" } }); end;
		get_host_items = function () return { task }; end;
		get_option_period = function () return DAY; end;
		log = function () end;
	};
	local module = {
		set_global = function () end;
		log = function () end;
		get_option_number = function (_, _, default) return default; end;
		add_timer = function (_, _, callback) look = callback; end;
		add_item = function () end;
		context = function () return host; end;
	};
	local clock = setmetatable({ time = function () return now; end }, { __index = os });
	local environment = setmetatable({ module = module; prosody = {}; os = clock }, { __index = _G });
	assert(loadfile(sources .. "/modules/mod_cron.lua", "t", environment))();
	module.add_host(host);
	return look;
end

-- Fourteen days from a midnight, as times of starting and stopping.
local function lives(title, spans)
	local midnight, store, runs, first = 1798761600, {}, 0, "";
	for _, span in ipairs(spans) do
		now = midnight + span[1];
		local look = start(store, { when = "daily"; name = "Clean up"; run = function ()
			runs = runs + 1;
			if first == "" then
				local at = now - midnight;
				first = string.format(", the first on day %d at %02d:%02d", at // DAY + 1, at % DAY // HOUR, at % HOUR // 60);
			end
		end });
		now = now + 1;
		while now < midnight + span[2] do
			look();
			now = now + HOUR;
		end
	end
	print(string.format("%s, %s: %d runs%s", version, title, runs, first));
end

local by_day, by_day_but_one, at_half_past = {}, {}, {};
for day = 0, 13 do
	by_day[#by_day + 1] = { day * DAY + 8 * HOUR, day * DAY + 22 * HOUR };
	at_half_past[#at_half_past + 1] = { day * DAY + HOUR / 2, (day + 1) * DAY + HOUR / 2 };
	if day ~= 1 then by_day_but_one[#by_day_but_one + 1] = { day * DAY + 8 * HOUR, (day == 0 and DAY or day * DAY) + 22 * HOUR }; end
end
local all = {
	{ "always on", { { 0, 14 * DAY } } };
	{ "on from 08:00 to 22:00", by_day };
	{ "restarted at 00:30", at_half_past };
	{ "on from 08:00 to 22:00, but for one night", by_day_but_one };
};
for _, it in ipairs(all) do
	if arg[3] == nil or arg[3] == it[1] then lives(it[1], it[2]); end
end
LUA

by_sources() { LUA_PATH="$1/?.lua;;" LUA_CPATH='/usr/lib/prosody/?.so;;' lua5.4 "$WORK/days.lua" "$@"; }
{
    by_sources /usr/lib/prosody 0.12.3
    by_sources "$WORK/debian-13/usr/lib/prosody" 13.0.1 "on from 08:00 to 22:00"
} | as_described
