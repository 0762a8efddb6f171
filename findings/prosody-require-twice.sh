#!/usr/bin/env bash
# Two files of one Prosody module that require the same library do not share it.
#
# Version: Prosody 0.12.3 (Debian 12).
# Guess: `module:require` loads a library once for each module and host, as Lua's `require` does once for all: a count
#   kept in the library is seen by all files of the module.
# Behaviour: each call reads the file and runs it anew. Whoever keeps a state in such a library, a queue or a limit, has as
#   many of them as there are callers; what they are to share must be passed on, or kept in a table of the module.
# Seen:
# | module:require, the same table: false
# | module:require, counts: 1 1
# | require, the same table: true
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1
mkdir -p "$WORK/prosody/finding"
cat >"$WORK/prosody/finding/counter.lib.lua" <<'LUA'
local count = 0;
return { next = function () count = count + 1; return count; end };
LUA
cat >"$WORK/prosody/finding/other.lib.lua" <<'LUA'
return module:require "finding/counter";
LUA
# A folder of libraries beside the module's own file.
prosody_module 'VirtualHost "example.org"' <<'LUA'
local mine, others = module:require "finding/counter", module:require "finding/other";
local out = assert(io.open(prosody.paths.data .. "/out", "w"));
out:write("module:require, the same table: ", tostring(mine == others), "\n");
out:write(("module:require, counts: %d %d\n"):format(mine.next(), others.next()));
out:write("require, the same table: ", tostring(require "util.id" == require "util.id"), "\n");
out:close();
module:add_timer(0.1, function () prosody.shutdown("done"); end);
LUA
as_described <"$WORK/prosody/data/out"
