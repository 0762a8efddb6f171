#!/usr/bin/env bash
# Prosody's archive takes a time with a fraction in SQLite and refuses it in files.
#
# Version: Prosody 0.12.3 (Debian 12), Lua 5.4.
# Guess: `archive:append` takes the same times in all storages; one with a fraction, as `util.time.now()` gives it, is kept or
#   cut off.
# Behaviour: SQLite keeps it, fraction and all. In files the call does not return but raises an error from Lua's os.date, before anything is
#   written. mod_mam passes whole seconds, so only other modules that fill archives meet this: one that was tried with SQL
#   fails at its first message with files.
# Seen, an append at 1000.75, and what is then found:
# | internal: number has no integer representation; found nothing
# | sql: kept; found 1000.75
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua-dbi-sqlite3=0.7.2-4

for storage in internal sql; do
    prosody_module "VirtualHost \"example.org\"
storage = \"$storage\"; sql = { driver = \"SQLite3\", database = \"$WORK/prosody/data/sqlite\" }" <<'LUA'
local message = require "util.stanza".message({}, "words");
local archive = module:open_store("finding", "archive");
local kept, problem = pcall(archive.append, archive, "alice", nil, message, 1000.75, "bob@example.org");
local found = {};
for _, _, when in archive:find("alice") or function () end do found[#found+1] = tostring(when); end
local out = assert(io.open(prosody.paths.data .. "/out", "a"));
out:write(module:get_option_string("storage"), ": ", kept and "kept" or tostring(problem):match("%((.-)%)") or "?");
out:write("; found ", found[1] and table.concat(found, " ") or "nothing", "\n");
out:close();
module:add_timer(0.1, function () prosody.shutdown("done"); end);
LUA
done
as_described <"$WORK/prosody/data/out"
