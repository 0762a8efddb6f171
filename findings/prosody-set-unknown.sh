#!/usr/bin/env bash
# Prosody's archive:set of an id that is not there says why in files, and only "false" in SQL.
#
# Version: Prosody 0.12.3 (Debian 12), Lua 5.4.
# Guess: `archive:set` answers `nil` and the same error in all storages, as `archive:get` does.
# Behaviour: `archive:get` does; `archive:set` of files answers `nil, "item-not-found"`, that of SQL `false, nil`. Whoever
#   tells "not there" from "failed" by `== nil` or by the error is right in one storage only, and logs "nil" in the other.
# Seen, get and set of an unknown id:
# | internal: get nil, item-not-found; set nil, item-not-found
# | sql: get nil, item-not-found; set false, nil
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua-dbi-sqlite3=0.7.2-4

for storage in internal sql; do
    prosody_module "VirtualHost \"example.org\"
storage = \"$storage\"; sql = { driver = \"SQLite3\", database = \"$WORK/prosody/data/sqlite\" }" <<'LUA'
local message = require "util.stanza".message({}, "words");
local archive = module:open_store("finding", "archive");
archive:append("alice", "one", message, 1000, "bob@example.org");
local got, get_problem = archive:get("alice", "two");
local set, set_problem = archive:set("alice", "two", message, 1000, "bob@example.org");
local out = assert(io.open(prosody.paths.data .. "/out", "a"));
out:write(module:get_option_string("storage"), ": get ", tostring(got), ", ", tostring(get_problem));
out:write("; set ", tostring(set), ", ", tostring(set_problem), "\n");
out:close();
module:add_timer(0.1, function () prosody.shutdown("done"); end);
LUA
done
as_described <"$WORK/prosody/data/out"
