-- mod_ephemerd: announces each marked stanza to ephemerd as it is archived, and erases by archive id on request.
-- For Prosody 0.12 and 13.0; on virtual hosts with mod_mam and mod_offline, on rooms' hosts with mod_muc_mam, and on
-- upload components (mod_http_file_share).
-- The protocol is in ephemerd's docs/protocol.md.
--
--     ephemerd_component = "ephemerd.example.org"
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local async = require "util.async";
local jid = require "util.jid";
local new_id = require "util.id".short;
local st = require "util.stanza";
local datetime = require "util.datetime";

local pace = module:require "pace";
local reads = module:require "reads";
local rows = module:require "rows";
local sessions = module:require "sessions";
local stanzas = module:require "stanzas";
local uploads = module:require "uploads";

local xmlns = "urn:ephemerd:companion:0";
local version, oldest_version, module_version = "2", "1", "0.1.0";
local most_items, most_listed, least_bytes, most_bytes = 500, 500, 1024, 262144;
local longest_pause_seconds = 1;

local host = module.host;
local component = jid.prep(module:get_option_string("ephemerd_component"));
if not component then
	error("ephemerd_component must name ephemerd's component", 0);
end

local is_component = module:get_host_type() == "component";
local is_uploads = is_component and module:get_option_string("component_module") == "http_file_share";
local is_rooms = is_component and not is_uploads;
local memory = is_rooms and module:require "memory";
local members = is_rooms and module:require "members";
local loaded = prosody.hosts[host].modules;

local stores = is_uploads and {} or is_rooms and { room = rows.open("muc_log") } or {
	archive = rows.open(module:get_option_string("archive_store", "archive"));
	queue = rows.open("offline");
};

-- A host's store by its name in the protocol, while what fills it is loaded.
local function store_of(name)
	local filled_by = ({ archive = "mam", queue = "offline", room = "muc_mam" })[name];
	return filled_by and loaded[filled_by] and stores[name] or nil;
end

-- The component's session on this very server: our notices must not go anywhere else.
local function session()
	local target = prosody.hosts[component];
	local connection = target and target.modules.component;
	return connection and connection.connected and connection.session or nil;
end

-- Notices ------------------------------------------------------------------------------------------------------------------

local boot, number = new_id(), 0;

local function notify(name, attr, stanza, items)
	number = number + 1; -- also while nobody listens: the gap tells
	if not session() then return; end
	attr.xmlns, attr.boot, attr.number = xmlns, boot, ("%d"):format(number);
	local notice = st.message({ from = host, to = component, type = "headline" }):tag(name, attr);
	if stanza then
		local copy, _, is_reduced = stanzas.told(stanza);
		if name == "remembered" then copy.attr.to = nil; end -- it may name somebody in the room
		attr.reduced = is_reduced;
		notice:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
			:tag("delay", { xmlns = "urn:xmpp:delay", stamp = attr.stamp }):up():add_child(copy);
	end
	for _, item in ipairs(items or {}) do
		local copy = {}; -- it may be sent again
		for attribute, value in pairs(item) do copy[attribute] = value; end
		notice:tag("item", copy):up();
	end
	module:send(notice);
end

-- Announces a row that was stored between `before` (os.time) and now.
local function archived(store_name, user, owner, id, before, stanza)
	local store = store_of(store_name);
	if not store or not id then return; end
	local when = os.time();
	if stanzas.has_fractions or when ~= before then
		when = rows.stamp_of(store, user, id) or when;
	end
	notify("archived", {
		owner = owner, store = store_name, id = id, stamp = stanzas.format_stamp(when);
		["copy-of"] = store.is_queue and stanzas.archived_as(stanza, owner) or nil;
	}, stanza);
end

-- Whatever goes wrong with a notice, the message is still stored and delivered.
local complained = false;
local function safely(tell, ...)
	local before, ok, err = number, pcall(tell, ...);
	if ok then return; end
	if number == before then number = number + 1; end -- the gap tells
	if not complained then
		complained = true;
		module:log("warn", "A stanza could not be announced (%s); ephemerd finds it when it next lists. Logged once", stanzas.place_of(err));
	end
end

if is_rooms then
	memory.watch(notify, safely, function (room, stanza, before)
		archived("room", jid.node(room.jid), room.jid, stanzas.archived_as(stanza, room.jid), before, stanza);
	end);
	reads.start_in_rooms(notify, safely, function () return session() ~= nil; end);
elseif not is_uploads then
	local asked_at; -- when mod_mam last asked whether to archive, which it does right before it does
	module:hook("archive-should-store", function () asked_at = os.time(); end, 1000);

	module:hook("archive-message-added", function (event)
		local user, stanza = event.for_user, event.stanza;
		if stanzas.is_marked(stanza) then
			safely(archived, "archive", user, user .. "@" .. host, event.id, asked_at, stanza);
			safely(sessions.archived, user, event.id, stanza);
		end
	end);

	-- mod_offline returns the id under which it stored the stanza.
	module:wrap_event("message/offline/handle", function (handlers, name, event)
		local before = os.time();
		local result = handlers(name, event);
		local stanza = event.stanza;
		if type(result) == "string" and stanzas.is_marked(stanza) then
			local user = stanza.attr.to and jid.node(stanza.attr.to) or event.origin.username;
			safely(archived, "queue", user, user .. "@" .. host, result, before, stanza);
			safely(sessions.queued, user, stanzas.archived_as(stanza, user .. "@" .. host));
		end
		return result;
	end);

	local function drained(user)
		local queue = store_of("queue");
		if not queue then return; end
		local stored = queue.archive:find(user);
		for _, stanza in stored or function () end do -- what cannot be read is not handed out either
			if stanzas.is_marked(stanza) then
				return notify("drained", { owner = user .. "@" .. host });
			end
		end
	end

	-- After mod_mam, which holds the queue back, and before mod_offline, which hands it out.
	module:hook("message/offline/broadcast", function (event)
		safely(drained, event.origin.username);
	end, -0.5);
	sessions.start(notify, safely);
	reads.start(notify, safely, function () return session() ~= nil; end);
end

-- Requests -----------------------------------------------------------------------------------------------------------------

-- Raised within a request to refuse it.
local function refuse(kind, condition, text)
	error({ kind = kind, condition = condition, text = text }, 0);
end

local function bad_request(text) refuse("modify", "bad-request", text); end

local function number_within(text, least, most, what)
	local value = (text or ""):match("^%d+$") and #text <= 9 and tonumber(text);
	if not value or value < least or value > most then bad_request(what .. " is missing or out of bounds"); end
	return value;
end

-- The user part of an owner and the owner as the host writes it.
local function owner_of(request)
	local user, owner_host, resource = jid.prepped_split(request.attr.owner);
	if not user or resource then bad_request("owner is not a bare JID"); end
	if owner_host ~= host then refuse("cancel", "item-not-found", "the owner is not on this host"); end
	return user, user .. "@" .. host;
end

local function named_store(request)
	local name = request.attr.store;
	if name ~= "archive" and name ~= "room" and name ~= "queue" then bad_request("store is missing or unknown"); end
	return store_of(name) or refuse("cancel", "item-not-found", "this host has no such store");
end

-- The items of a request in order; duplicates are refused.
local function items_of(request, has_stamps)
	local items, seen = {}, {};
	for item in request:childtags("item", xmlns) do
		local id, stamp = item.attr.id, stanzas.normal_stamp(item.attr.stamp);
		if not stanzas.is_id(id) or has_stamps and not stamp then bad_request("an item's id or stamp is missing or out of bounds"); end
		if seen[id] then bad_request("an item occurs twice"); end
		seen[id] = true;
		items[#items+1] = { id = id, stamp = stamp };
	end
	if #items < 1 or #items > most_items then bad_request("there must be 1 to 500 items"); end
	return items;
end

local function answer(name, attr)
	attr.xmlns = xmlns;
	return st.stanza(name, attr);
end

-- Waits until the store may be changed, or refuses if that takes long.
local function await(store)
	if rows.is_halted(store) then
		refuse("wait", "internal-server-error", "a write failed: nothing is erased there until the server restarts");
	end
	local left = rows.rest(store);
	if left > longest_pause_seconds then refuse("wait", "resource-constraint"); end
	if left > 0 then pace.pause(left); end
end

-- Erases or blanks, and answers with each item's outcome.
local function change(request, answer_name, replace)
	local store, items, user, owner = named_store(request), items_of(request, true), owner_of(request);
	if not replace and (store.is_queue or store.storage == "other") then
		refuse("cancel", "feature-not-implemented", "rows of this store can only be blanked");
	end
	await(store);
	local outcomes = rows.change(store, user, items, replace and function (stanza)
		return replace(stanza, store.is_queue);
	end);
	if memory then
		local erased = {};
		for _, item in ipairs(items) do
			if outcomes[item.id] == "done" or outcomes[item.id] == "gone" then erased[#erased+1] = item; end
		end
		memory.scrub(owner, erased);
	end
	local left = rows.rest(store);
	local reply = answer(answer_name, {
		owner = owner, store = request.attr.store;
		rest = left > longest_pause_seconds and ("%d"):format(math.ceil(left)) or nil;
	});
	for _, item in ipairs(items) do
		reply:tag("item", { id = item.id, outcome = outcomes[item.id] }):up();
	end
	return reply;
end

local function abilities()
	local can, store = {}, store_of(is_rooms and "room" or "archive");
	if store and store.storage ~= "other" then can[#can+1] = "erase"; end
	if store then can[#can+1] = "blank"; can[#can+1] = "list"; end
	if memory then can[#can+1] = "scrub"; can[#can+1] = "remember"; can[#can+1] = "room-reads"; can[#can+1] = "members"; end
	if uploads.is_known() then can[#can+1] = "files"; end
	if store_of("queue") then can[#can+1] = "queue"; end
	if store_of("archive") then can[#can+1] = "sessions"; can[#can+1] = "reads"; can[#can+1] = "room-reads"; end
	return can;
end

local function is_halted()
	for _, store in pairs(stores) do
		if rows.is_halted(store) then return true; end
	end
	return false;
end

local requests = {};

function requests.companion(request)
	local is_old = request.attr.version == oldest_version; -- it would take our newer notices for lost ones
	sessions.understood(not is_old);
	local asked = is_old and {} or request.attr;
	reads.want(asked.reads, asked["room-reads"]);
	local reply = answer("companion", {
		version = is_old and oldest_version or version, module = module_version, server = "Prosody " .. prosody.version;
		boot = boot, number = ("%d"):format(number), now = stanzas.format_stamp(os.time());
		halted = is_halted() and "true" or nil;
	});
	for _, ability in ipairs(abilities()) do
		reply:tag("can", { what = ability }):up();
	end
	return reply;
end

function requests.erase(request)
	return change(request, "erased");
end

function requests.blank(request)
	local until_stamp = stanzas.normal_stamp(request.attr["until"]);
	if not until_stamp then bad_request("until is missing or not a time"); end
	return change(request, "blanked", function (stanza, is_queue)
		return stanzas.placeholder(stanza, until_stamp, is_queue);
	end);
end

local function only_rooms()
	if not memory then refuse("cancel", "feature-not-implemented", "this host has no rooms"); end
end

function requests.scrub(request)
	only_rooms();
	local items, _, owner = items_of(request, false), owner_of(request);
	return answer("scrubbed", { owner = owner, count = ("%d"):format(memory.scrub(owner, items)) });
end

function requests.remembered()
	only_rooms();
	return answer("remembered", { count = ("%d"):format(memory.tell_again()) });
end

function requests.members(request)
	only_rooms();
	local _, owner = owner_of(request);
	local found, is_for_members, is_all = members.of(owner);
	if not found then refuse("cancel", "item-not-found", "there is no such room"); end
	local reply = answer("members", {
		owner = owner, ["members-only"] = is_for_members and "true" or nil, complete = is_all and "true" or nil;
	});
	for _, member in ipairs(found) do reply:tag("member", member):up(); end
	return reply;
end

-- The files of a request in order; duplicates are refused.
local function files_of(request)
	if not uploads.is_known() then refuse("cancel", "feature-not-implemented", "this host has no uploaded files"); end
	local files, seen = {}, {};
	for file in request:childtags("file", xmlns) do
		local id, uploader = file.attr.id, uploads.uploader_of(file.attr.uploader);
		if not stanzas.is_id(id) or not uploader then bad_request("a file's id or uploader is missing or out of bounds"); end
		if seen[id.."\0"..uploader] then bad_request("a file occurs twice"); end
		seen[id.."\0"..uploader] = true;
		files[#files+1] = { id = id, uploader = uploader };
	end
	if #files < 1 or #files > most_items then bad_request("there must be 1 to 500 files"); end
	return files;
end

function requests.files(request)
	local reply = answer("files", {});
	for _, file in ipairs(files_of(request)) do
		if uploads.is_slot(file.id) then file.state, file.since = uploads.state(file.id, file.uploader);
		else file.state = "gone"; end
		reply:tag("file", file):up();
	end
	return reply;
end

function requests.unlink(request)
	local reply = answer("unlinked", {});
	for _, file in ipairs(files_of(request)) do
		file.outcome = uploads.is_slot(file.id) and uploads.unlink(file.id, file.uploader) or "gone";
		reply:tag("file", file):up();
	end
	return reply;
end

function requests.recall(request)
	local max = number_within(request.attr.max, 1, most_listed, "max");
	local owners, seen = {}, {};
	local knowing = is_rooms and { reads } or { sessions, reads };
	for _, part in ipairs(knowing) do
		for user in pairs(part.users()) do
			local owner = user .. "@" .. host;
			if not seen[user] and (not request.attr.after or owner > request.attr.after) then owners[#owners+1] = owner; end
			seen[user] = true;
		end
	end
	table.sort(owners);
	for at = 1, math.min(max, #owners) do
		local user = jid.node(owners[at]);
		for _, part in ipairs(knowing) do part.tell_again(user); end
	end
	local last, is_all = owners[math.min(max, #owners)], #owners <= max;
	return answer("recall", { last = last, complete = is_all and "true" or nil });
end

function requests.owners(request)
	local store, after = named_store(request), request.attr.after;
	local found, is_all = rows.owners(store, after, number_within(request.attr.max, 1, most_listed, "max"), function (user)
		return jid.prep(user .. "@" .. host);
	end);
	local reply = answer("owners", { store = request.attr.store, complete = is_all and "true" or nil });
	for _, owner in ipairs(found) do
		reply:tag("owner", { jid = owner }):up();
	end
	return reply;
end

function requests.list(request)
	local attr, store, user, owner = request.attr, named_store(request), owner_of(request);
	local since = attr.since and (datetime.parse(attr.since) or bad_request("since is not a time"));
	if attr.after and not stanzas.is_id(attr.after) then bad_request("after is out of bounds"); end
	local page = rows.list(store, user, {
		-- PostgreSQL stores 31-bit stamps and refuses to compare larger ones.
		since = since and math.max(0, math.min(math.floor(since), 2147483647)), after = attr.after;
		max = number_within(attr.max, 1, most_listed, "max");
		max_bytes = number_within(attr["max-bytes"], least_bytes, most_bytes, "max-bytes");
	});
	local reply = answer("list", { owner = owner, store = attr.store, last = page.last, complete = page.complete and "true" or nil });
	for _, row in ipairs(page.rows) do
		reply:tag("row", {
			id = row.id, stamp = row.stamp, reduced = row.reduced;
			["copy-of"] = store.is_queue and stanzas.archived_as(row.whole, owner) or nil;
		}):add_child(row.stanza):up();
	end
	return reply;
end

local types = {
	companion = "get", owners = "get", list = "get", recall = "get", remembered = "get", members = "get";
	files = "get", erase = "set", blank = "set", scrub = "set", unlink = "set";
};
local is_list = { owners = true, list = true };

local lists_waiting = 0;

local logged_version = false;
local function check_version(name, theirs)
	if theirs == version or theirs == oldest_version then return; end
	theirs = theirs and theirs:match("^%d+$") and #theirs < 10 and theirs or "another";
	if not logged_version then
		logged_version = true;
		module:log("warn", "ephemerd speaks version %s of the companion protocol, this module version %s", theirs, version);
	end
	if name ~= "companion" then
		refuse("cancel", "feature-not-implemented", ("this module speaks version %s, not %s"):format(version, theirs));
	end
end

local function handle(stanza)
	local request = stanza.tags[1];
	local name = request.name;
	if types[name] ~= stanza.attr.type then refuse("cancel", "feature-not-implemented", "there is no such request"); end
	check_version(name, request.attr.version);
	if is_list[name] and not pace.begin_list(longest_pause_seconds) then refuse("wait", "resource-constraint"); end
	return requests[name](request);
end

-- Requests are handled one at a time, because some pause.
local current;
local function finish(reply)
	local origin, name = current.origin, current.stanza.tags[1].name;
	current = nil;
	if is_list[name] then lists_waiting = lists_waiting - 1; pace.end_list(); end
	if origin.send then origin.send(reply); end -- it may have gone meanwhile
end

local function fail(_, err)
	if not current then return; end -- its answer is out
	local reason = err;
	if type(err) ~= "table" then
		module:log("error", "A request failed (%s); see the storage's own message above", stanzas.place_of(err));
		reason = { kind = "wait", condition = "internal-server-error" };
	end
	finish(st.error_reply(current.stanza, reason.kind, reason.condition, reason.text));
end

local worker = async.runner(function (event)
	current = event;
	finish(st.reply(event.stanza):add_child(handle(event.stanza)));
end, { error = fail });

module:hook("iq/host", function (event)
	local origin, stanza = event.origin, event.stanza;
	local request, kind = stanza.tags[1], stanza.attr.type;
	if not request or request.attr.xmlns ~= xmlns or kind ~= "get" and kind ~= "set" then return; end
	if stanza.attr.from ~= component or origin.type ~= "component" or origin.host ~= component then
		origin.send(st.error_reply(stanza, "auth", "forbidden"));
		return true;
	end
	if is_list[request.name] then
		if lists_waiting > 0 then
			origin.send(st.error_reply(stanza, "wait", "resource-constraint"));
			return true;
		end
		lists_waiting = lists_waiting + 1;
	end
	worker:run(event);
	return true;
end, 1);
