#!/usr/bin/env bash
# Asked for what came before a message that has expired, Prosody's archive in files gives everything that is left, which came after it.
#
# Version: Prosody 0.12.3 (Debian 12), storage "internal", "memory" and "sql" (SQLite), by the storage API that modules use.
# Guess: archive:find with `before` gives nil and item-not-found in all three when there is no such message, as it does with `after`.
# Behaviour: in files and in memory that is so only backwards, newest first. Forwards, the first of what came before is asked for, and
#   the end is never met: the whole archive comes. That is what mod_mam asks for a form with before-id (XEP-0313), to which item-not-found
#   is due. A client that knows messages from before the expiry takes what is there for older than it.
# Seen, k1 and k2 of six having expired:
# | internal, before k4: k3
# | internal, after k2: item-not-found
# | internal, before k2, newest first: item-not-found
# | internal, before k2: k3 k4 k5 k6
# | memory, before k4: k3
# | memory, after k2: item-not-found
# | memory, before k2, newest first: item-not-found
# | memory, before k2: k3 k4 k5 k6
# | sql, before k4: k3
# | sql, after k2: item-not-found
# | sql, before k2, newest first: item-not-found
# | sql, before k2: item-not-found
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1
dpkg-query -W lua-dbi-sqlite3 >>"$WORK/log" 2>&1 || fail "needs lua-dbi-sqlite3: apt-get install lua-dbi-sqlite3"

hosts="VirtualHost \"internal\" storage = \"internal\"
VirtualHost \"memory\" storage = \"memory\"
VirtualHost \"sql\" storage = \"sql\" sql = { driver = \"SQLite3\", database = \"$WORK/prosody/data/sqlite\" }"

prosody_module "$hosts" <<'LUA'
local st = require "util.stanza";
local archive = module:open_store("finding", "archive");
local out = assert(io.open(prosody.paths.data .. "/" .. module.host .. ".out", "w"));

local function ask(name, query)
	local found, problem = archive:find("alice", query);
	local keys = {};
	if found then for key in found do keys[#keys + 1] = key; end end
	out:write(module.host, ", ", name, ": ", found and table.concat(keys, " ") or problem, "\n");
end

module:add_timer(0.1, function ()
	for n = 1, 6 do
		assert(archive:append("alice", "k" .. n, st.message({ type = "chat" }, "words"), n * 10, "bob@example.org"));
	end
	assert(archive:delete("alice", { ["end"] = 20 }));
	ask("before k4", { before = "k4" });
	ask("after k2", { after = "k2" });
	ask("before k2, newest first", { before = "k2", reverse = true });
	ask("before k2", { before = "k2" });
	out:close();
	prosody.finished = (prosody.finished or 0) + 1;
	if prosody.finished == 3 then prosody.shutdown("done"); end
end);
LUA

cat "$WORK/prosody/data/"{internal,memory,sql}.out | as_described
