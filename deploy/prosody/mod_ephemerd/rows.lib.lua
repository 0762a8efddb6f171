-- The archives as rows that can be erased, blanked and listed, whatever storage holds them.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local now = require "util.time".now;
local st = require "util.stanza";
local storagemanager = require "core.storagemanager";

local halt = module:require "halt";
local pace = module:require "pace";
local stanzas = module:require "stanzas";

local longest_step_seconds = pace.longest_step_seconds;

-- Opens a store of this host; nil if nothing keeps it. `storage` is "files", "sql" or "other".
local function open(name)
	local archive = module:open_store(name, "archive");
	if not archive or archive.name == "null" or not archive.find then return nil; end
	local _, driver = storagemanager.get_driver(module.host, name);
	local storage = ({ internal = "files", sql = "sql" })[driver] or "other";
	local file = storage == "sql" and halt.file() or nil;
	return { archive = archive, name = name, storage = storage, file = file, is_queue = name == "offline" };
end

-- The only place that deletes. An empty query, or one whose key is nil, would wipe the whole archive.
local function delete(store, user, field, value)
	assert(type(user) == "string" and user ~= "", "no user");
	assert(field == "key" and type(value) == "string" and value ~= ""
		or field == "ids" and type(value) == "table" and type(value[1]) == "string", "nothing to delete");
	if halt.is_halted(store) then return nil; end
	local deleted = store.archive:delete(user, { [field] = value });
	if not deleted then halt.failed(store); end
	return deleted;
end

-- Whether this is the row that was meant: its stamp matches, and it is marked.
local function is_meant(item, stanza, when)
	return stanzas.format_stamp(when) == item.stamp and stanzas.is_marked(stanza);
end

local function from_file(row)
	local stanza = st.deserialize(row);
	stanza.attr.stamp = nil;
	return stanza;
end

local function to_file(row, stanza)
	local new = st.preserialize(stanza);
	new.key, new.when, new.with, new.attr.stamp = row.key, row.when, row.with, row.attr.stamp;
	return new;
end

-- In files, each deletion through the API rewrites the whole archive. So it is read once and written once, and only
-- the last row is deleted through the API, which then knows the count again.
local function change_files(store, user, items, replace)
	local host, files = module.host, storagemanager.olddm;
	local list, err = files.list_load(user, host, store.name);
	if not list then
		return err and "failed" or "gone";
	end
	local outcomes, kept, last, changes = {}, {}, nil, 0;
	for _, row in ipairs(list) do
		local item = row.key and items[row.key];
		local stanza = item and row.when and from_file(row);
		if item then
			outcomes[row.key] = stanza and is_meant(item, stanza, row.when) and "done" or "other";
		end
		if not item or outcomes[row.key] ~= "done" then
			kept[#kept+1] = row;
		elseif replace then
			kept[#kept+1] = to_file(row, replace(stanza));
			changes = changes + 1;
		elseif not last then
			kept[#kept+1], last = row, row.key;
		else
			changes = changes + 1;
		end
	end
	if changes > 0 and not files.list_store(user, host, store.name, kept)
		or last and not delete(store, user, "key", last) then
		return "failed";
	end
	return "gone", outcomes;
end

-- The rows with these ids, each with whether it is the one meant, and whether some could not be read.
local function find_rows(store, user, items, ids)
	local found, unreadable = {}, false;
	local function add(id, stanza, when)
		found[id] = { stanza = stanza, is_meant = is_meant(items[id], stanza, tonumber(when)) };
	end
	if store.storage ~= "sql" then
		for _, id in ipairs(ids) do
			local stanza, when = store.archive:get(user, id);
			if stanza then add(id, stanza, when); end
		end
		return found, unreadable;
	end
	local rows, err = store.archive:find(user, { ids = ids });
	if not rows then error(err or "the storage failed"); end
	for _ = 1, #ids do
		-- A row that is not XML raises an error; the iterator can still go on to the next ones.
		local ok, id, stanza, when = pcall(rows);
		if ok and not id then break; end
		if ok then add(id, stanza, when); else unreadable = true; end
	end
	return found, unreadable;
end

local function blank(store, user, id, stanza)
	if halt.is_halted(store) then return "failed"; end
	local ok, err = store.archive:set(user, id, stanza);
	if ok then return "done"; end
	if ok == nil or err then
		halt.failed(store);
		return "failed";
	end
	-- Nothing changed: either it has gone meanwhile, or the database does not count unchanged rows.
	local left = store.archive:get(user, id);
	return not left and "gone" or stanzas.is_placeholder(left) and "done" or "failed";
end

local function change_rows(store, user, items, ids, replace)
	local found, unreadable = find_rows(store, user, items, ids);
	local outcomes, doomed, started = {}, {}, now();
	for _, id in ipairs(ids) do
		local row = found[id];
		if row and not row.is_meant then
			outcomes[id] = "other";
		elseif row and replace then
			outcomes[id] = blank(store, user, id, replace(row.stanza));
			if now() - started > longest_step_seconds then
				pace.pause(longest_step_seconds / 2);
				started = now();
			end
		elseif row then
			doomed[#doomed+1] = id;
		end
	end
	if doomed[1] then
		local outcome = delete(store, user, "ids", doomed) and "done" or "failed";
		for _, id in ipairs(doomed) do outcomes[id] = outcome; end
	end
	return unreadable and "failed" or "gone", outcomes;
end

-- Seconds until this store may be changed again: in files, each change rewrites an owner's whole archive.
local function rest(store)
	return store.storage == "files" and pace.rest() or 0;
end

-- Erases rows, or replaces each by what `replace` makes of its stanza. `items` is a list of { id, stamp };
-- returns the outcomes by id.
local function change(store, user, list, replace)
	local items, ids, outcomes = {}, {}, {};
	for i, item in ipairs(list) do
		items[item.id], ids[i] = item, item.id;
	end
	local otherwise, known;
	if store.storage == "files" then
		otherwise, known = pace.step(change_files, store, user, items, replace);
	else
		otherwise, known = change_rows(store, user, items, ids, replace);
	end
	for _, id in ipairs(ids) do
		outcomes[id] = known and known[id] or otherwise;
	end
	return outcomes;
end

-- The stamp of the row with this id, if it is among the newest rows.
local function stamp_of(store, user, id)
	for key, _, when in store.archive:find(user, { reverse = true, limit = 10 }) do
		if key == id then return tonumber(when); end
	end
end

-- Rows in the store's order, stamped at or after `since` in whole seconds, after the row with the id `after`;
-- at most `limit`.
local function find(store, user, since, after, limit)
	local rows, err = store.archive:find(user, { start = since, after = after, limit = limit });
	if rows then return rows; end
	-- It may be gone, or older than `since`: both mean the start.
	if after and err == "item-not-found" then return find(store, user, since, nil, limit); end
	error(err or "the storage failed");
end

-- 13.0's file storage returns an empty page after a row that is gone.
local function comes_after_nothing(store, user, since, after)
	local _, when = store.archive:get(user, after);
	return not when or since and tonumber(when) < since;
end

-- Marked rows for one answer: { rows, last, complete }.
local function list(store, user, query)
	local is_file = store.storage == "files";
	local limit = is_file and 10000 or 500; -- a file is read whole anyway
	local page, looked, bytes = { rows = {} }, 0, 0;
	local next_row = find(store, user, query.since, query.after, limit + 1); -- one more tells whether there are more
	while looked < limit do
		if is_file then pace.breathe(); end -- its rows are in memory by now
		-- A row that is no XML raises an error, and the next ones follow nevertheless.
		local ok, id, stanza, when = pcall(next_row);
		if ok and not id then break; end
		looked = looked + 1;
		if ok and stanzas.is_marked(stanza) then
			local copy, length, is_reduced = stanzas.told(stanza);
			bytes = bytes + length;
			if page.rows[1] and bytes > query.max_bytes then return page; end
			page.rows[#page.rows+1] = {
				id = id, stanza = copy, whole = stanza, reduced = is_reduced, stamp = stanzas.format_stamp(tonumber(when));
			};
		end
		if ok then page.last = id; end
		if #page.rows == query.max then return page; end
	end
	if looked == 0 and query.after and comes_after_nothing(store, user, query.since, query.after) then
		query.after = nil;
		return list(store, user, query);
	end
	local ok, more = true, nil;
	if looked == limit then ok, more = pcall(next_row); end
	page.complete = ok and not more;
	return page;
end

-- Owners who may have rows: bare JIDs in byte order after `after`, at most `max`, and whether that is all.
local function owners(store, after, max, to_owner)
	local found, is_all = {}, true;
	for user in store.archive:users() do
		local owner = user ~= "" and to_owner(user);
		if owner and (not after or owner > after) and (#found < max or owner < found[#found]) then
			local at = #found + 1;
			while at > 1 and owner < found[at - 1] do at = at - 1; end
			table.insert(found, at, owner);
		elseif owner and (not after or owner > after) then
			is_all = false;
		end
		if #found > max then
			found[#found], is_all = nil, false;
		end
	end
	return found, is_all;
end

return {
	open = open;
	change = change;
	rest = rest;
	is_halted = halt.is_halted;
	stamp_of = stamp_of;
	list = list;
	owners = owners;
};
