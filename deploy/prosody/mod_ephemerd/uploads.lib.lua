-- Removes uploaded files (mod_http_file_share), for messages that name them and have gone.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local datetime = require "util.datetime";
local errno = require "util.pposix";
local jid = require "util.jid";
local lfs = require "lfs";
local olddm = require "core.storagemanager".olddm;

local host = module.host;
local filled_by = "http_file_share";
local store; -- the rows of that module: a slot, who asked for it and when, and the file's name

-- With a base URL of its own the files are elsewhere.
local function is_known()
	return prosody.hosts[host].modules[filled_by] ~= nil
		and not module:get_option_string(filled_by .. "_base_url");
end

-- Ids are what the storage gave out; nothing that could be a path.
local function is_slot(id)
	return type(id) == "string" and #id >= 8 and #id <= 128 and id:match("^[%w_-]+$") ~= nil;
end

-- The file and when its slot was given; or nothing and why.
local function find(slot, uploader)
	store = store or module:open_store("uploads", "archive");
	local iter, err = store:find(nil, { key = slot, limit = 1 });
	if not iter then return nil, err == "item-not-found" and "gone" or "failed"; end
	for id, _, when, with in iter do
		if id == slot then
			if with ~= uploader then return nil, "other"; end
			local file = olddm.getpath(slot, host, filled_by, "bin");
			-- A slot that nobody has used, or not yet.
			if lfs.symlinkattributes(file, "mode") ~= "file" then return nil, "gone"; end
			return file, when;
		end
	end
	return nil, "gone";
end

-- What is known of a file: "there", "gone" or "other", and since when something may name it.
local function state(slot, uploader)
	local file, when = find(slot, uploader);
	if not file and when == "failed" then return nil; end
	if not file then return when; end
	return "there", datetime.datetime(when);
end

-- The file first: without its row it would be left over for ever.
local function unlink(slot, uploader)
	local file, why = find(slot, uploader);
	if not file then return why; end
	local removed, _, code = os.remove(file);
	if not removed and code ~= errno.ENOENT then
		module:log("error", "An uploaded file could not be removed (error %s)", tostring(code));
		return "failed";
	end
	if not store:delete(nil, { key = slot }) then return "failed"; end
	return "done";
end

-- A bare JID of a user, as the server writes it.
local function uploader_of(text)
	local user, user_host, resource = jid.prepped_split(text);
	return user and not resource and user .. "@" .. user_host or nil;
end

return { is_known = is_known, is_slot = is_slot, uploader_of = uploader_of, state = state, unlink = unlink };
