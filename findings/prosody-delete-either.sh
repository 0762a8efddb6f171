#!/usr/bin/env bash
# Prosody's archive:delete with two conditions removes different messages in files and in SQL.
#
# Version: Prosody 0.12.3 (Debian 12), storage "internal" and "sql" (SQLite), by the storage API that modules use.
# Guess: conditions of one query are joined by AND in both, since archive:find does so in both.
# Behaviour: with SQL a message must match all of them. In files it is enough to match one: start and end together
#   remove everything, and "the messages with Carol until 30" takes Dave's older ones too. No error, and the number
#   that is returned is the number removed.
# Seen, each time after appending k1 (10, Carol), k2 (20, Dave), k3 (30, Carol), k4 (40, Dave):
# | internal find   start=20 end=30 gives k2 k3
# | internal delete start=20 end=30 leaves nothing
# | internal delete with=carol end=30 leaves k4
# | internal delete key=k2 end=30 leaves k4
# | sql find   start=20 end=30 gives k2 k3
# | sql delete start=20 end=30 leaves k1 k4
# | sql delete with=carol end=30 leaves k2 k4
# | sql delete key=k2 end=30 leaves k1 k3 k4
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1
dpkg-query -W lua-dbi-sqlite3 >>"$WORK/log" 2>&1 || fail "needs lua-dbi-sqlite3: apt-get install lua-dbi-sqlite3"

hosts="VirtualHost \"internal\" storage = \"internal\"
VirtualHost \"sql\" storage = \"sql\" sql = { driver = \"SQLite3\", database = \"$WORK/prosody/data/sqlite\" }"

prosody_module "$hosts" <<'LUA'
local st = require "util.stanza";
local archive = module:open_store("finding", "archive");
local out = assert(io.open(prosody.paths.data .. "/" .. module.host .. ".out", "w"));

local function fill(user)
	for n, with in ipairs({ "carol@x", "dave@x", "carol@x", "dave@x" }) do
		assert(archive:append(user, "k" .. n, st.message({ type = "chat" }, "words"), n * 10, with));
	end
end

local function keys(user, query)
	local all = {};
	for key in assert(archive:find(user, query)) do all[#all + 1] = key; end
	return all[1] and table.concat(all, " ") or "nothing";
end

local function delete(user, text, query)
	fill(user);
	assert(archive:delete(user, query));
	out:write(module.host, " delete ", text, " leaves ", keys(user, {}), "\n");
end

module:add_timer(0.1, function ()
	fill("a");
	out:write(module.host, " find   start=20 end=30 gives ", keys("a", { start = 20, ["end"] = 30 }), "\n");
	delete("b", "start=20 end=30", { start = 20, ["end"] = 30 });
	delete("c", "with=carol end=30", { with = "carol@x", ["end"] = 30 });
	delete("d", "key=k2 end=30", { key = "k2", ["end"] = 30 });
	out:close();
	prosody.finished = (prosody.finished or 0) + 1;
	if prosody.finished == 2 then prosody.shutdown("done"); end
end);
LUA

cat "$WORK/prosody/data/internal.out" "$WORK/prosody/data/sql.out" | as_described
