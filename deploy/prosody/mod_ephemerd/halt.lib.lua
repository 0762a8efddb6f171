-- After a failed write, SQLite's driver can leave the server unable to archive until it is restarted, and
-- another write by us could trigger that. So we erase nothing more in such a file: archiving matters more.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

-- Files in which our last write failed, until the server restarts. Shared by all hosts, because they may share
-- a file.
local halted = module:shared("/*/ephemerd/halted");

-- The SQLite file of this host's SQL storage; nil if there is none.
local function file()
	local params = module:get_option("sql");
	if params and params.driver ~= "SQLite3" then return nil; end
	return params and params.database or "prosody.sqlite";
end

-- Records that a write to this store failed.
local function failed(store)
	if not store.file or halted[store.file] then return; end
	halted[store.file] = true;
	module:log("error", "A write to the SQLite file failed: ephemerd's module erases nothing in it until Prosody is restarted. "
		.. "Nothing else may write to that file while Prosody runs");
end

local function is_halted(store)
	return store.file and halted[store.file] or false;
end

return { file = file, failed = failed, is_halted = is_halted };
