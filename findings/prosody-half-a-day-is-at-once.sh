#!/usr/bin/env bash
# Prosody 13 keeps an archive of `archive_expires_after = "0.5 days"` for no second at all, and one of "6 fortnights" for six.
#
# Version: Prosody 13.0.1-1+deb131u (Debian 13), by its own core.moduleapi; what it needs in C is 0.12.3's (Debian 12).
# Guess: a period that it cannot read is refused with an error in the log, and the default of a week holds; "1.5y" is a year and a half.
# Behaviour: digits are read up to the first other character, so "0.5 days" is 0 and "1.5y" is 1, and without a unit that is known
#   directly behind them they are seconds. The log has an error, which calls the period ambiguous between months and minutes;
#   the value is in force all the same, and the next daily clean-up empties the archive.
#   As a number, 0.5 * 86400, it is as meant. Twelve months are 31 days each, a week more than one year.
# Seen, as seconds:
# | "1 week": 604800
# | "12 hours": 43200
# | "0.5 days": 0, error
# | "1.5y": 1, error
# | "2.5 weeks": 2, error
# | "6 fortnights": 6, error
# | "1m": 2678400, error
# | "12 months": 32140800
# | "1 year": 31556952
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1
debian_13 prosody=13.0.1-1+deb131u

HERE=$WORK/debian-13/usr/lib/prosody LUA_PATH="$WORK/debian-13/usr/lib/prosody/?.lua;;" LUA_CPATH='/usr/lib/prosody/?.so;;' lua5.4 - <<'LUA' | as_described
dofile(os.getenv("HERE") .. "/loader.lua");
prosody = { hosts = {}, events = require "util.events".new(), core_post_stanza = function () end };
local api = require "core.moduleapi";
for _, period in ipairs({ "1 week", "12 hours", "0.5 days", "1.5y", "2.5 weeks", "6 fortnights", "1m", "12 months", "1 year" }) do
	local said = "";
	local module = {
		get_option_scalar = function () return period; end;
		log = function (_, level) said = ", " .. level; end;
	};
	local seconds = api.get_option_period(module, "archive_expires_after", "1w");
	print(string.format('"%s": %.0f%s', period, seconds, said));
end
LUA
