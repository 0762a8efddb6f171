-- What a room remembers and replays to people who join, and its subject: marked ones that no archive holds are
-- announced, and are removed on request.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local hmac = require "util.hashes".hmac_sha256;
local new_id = require "util.id".medium;
local st = require "util.stanza";

local stanzas = module:require "stanzas";

-- Maximum number of messages announced again.
local most_told = 1000;

local muc = module:depends "muc";

-- Announces what is in a room's memory or is its subject; set by `watch`.
local notify;

local function tell(room, id, when, stanza)
	notify("remembered", { owner = room.jid, id = id, stamp = stanzas.format_stamp(when) }, stanza);
end

-- A marked message that only the room's memory holds gets an id from us, in the memory and nowhere else.
local function remembered(room, entry)
	if stanzas.is_marked(entry.stanza) and not stanzas.archived_as(entry.stanza, room.jid) then
		entry.ephemerd_id = entry.ephemerd_id or new_id();
		tell(room, entry.ephemerd_id, entry.timestamp, entry.stanza);
		return true;
	end
end

-- What is noted of a subject is saved with the room.
local function save_note(room, note)
	if not note and not room._data.ephemerd_subject then return; end
	room._data.ephemerd_subject = note;
	room:save();
end

-- A subject set by a marked stanza is noted beside it, with all that concerns retention and nothing else.
local function note_subject(room, stanza)
	local data = room._data;
	if not stanzas.is_marked(stanza) or not data.subject then return save_note(room, nil); end
	local id = new_id();
	local note = {
		id = id, at = data.subject_time, digest = hmac(id, data.subject, true), stanza = st.preserialize(stanzas.without_words(stanza));
	};
	save_note(room, note);
	tell(room, note.id, note.at, stanza);
end

-- Times are whole seconds: another subject may have the same one.
local function stands(room, note)
	local data = room._data;
	return data.subject and data.subject_time == note.at and hmac(note.id, data.subject, true) == note.digest;
end

local function tell_subject(room)
	local note = room._data.ephemerd_subject;
	if not note then return; end
	-- Somebody replaced it while this module was not loaded.
	if not stands(room, note) then return save_note(room, nil); end
	tell(room, note.id, note.at, st.deserialize(note.stanza));
	return true;
end

-- Whether a stanza sets the subject, as the server sees it.
local function sets_subject(stanza)
	return stanza:get_child("subject") and not stanza:get_child("body") and not stanza:get_child("thread");
end

-- `say` sends a notice, `safely` runs code whose failure must not stop a message, `archived` announces archived
-- stanzas.
local function watch(say, safely, archived)
	notify = say;

	module:wrap_event("muc-add-history", function (handlers, name, event)
		local room, stanza, before = event.room, event.stanza, os.time();
		local last = room._history and room._history[#room._history];
		local result = handlers(name, event);
		if not stanzas.is_marked(stanza) then return result; end
		if stanzas.archived_as(stanza, room.jid) then
			safely(archived, room, stanza, before);
		else
			local entry = room._history and room._history[#room._history];
			if entry and entry ~= last then safely(remembered, room, entry); end
		end
		return result;
	end);

	module:wrap_event("muc-occupant-groupchat", function (handlers, name, event)
		local room, stanza = event.room, event.stanza;
		local text = sets_subject(stanza) and stanza:get_child_text("subject");
		local result = handlers(name, event);
		-- Someone who may not set the subject changes nothing, not even by repeating it; nor does someone who is elsewhere.
		if text and event.occupant and (room._data.subject or "") == text and room._data.subject_from == event.occupant.nick then
			safely(note_subject, room, stanza);
		end
		return result;
	end);

	-- The subject survived while the room was not loaded.
	module:hook("muc-room-restored", function (event) safely(tell_subject, event.room); end);

	-- Placeholders are not replayed to people who join.
	module:wrap_event("muc-get-history", function (handlers, name, event)
		local result = handlers(name, event);
		local next_stanza = event.next_stanza;
		function event.next_stanza(...)
			local stanza;
			repeat stanza = next_stanza(...); until not stanza or not stanzas.is_placeholder(stanza);
			return stanza;
		end
		return result;
	end);
end

-- Announces everything loaded again; returns how many.
local function tell_again()
	local count = 0;
	for room in muc.live_rooms() do
		for _, entry in ipairs(room._history or {}) do
			if count < most_told and remembered(room, entry) then count = count + 1; end
		end
		if count < most_told and tell_subject(room) then count = count + 1; end
	end
	return count;
end

local function clear_subject(room, ids)
	local note = room._data.ephemerd_subject;
	if not note or not ids[note.id] then return 0; end
	local is_there = stands(room, note);
	room._data.ephemerd_subject = nil;
	if is_there then room:set_subject(room.jid, ""); end
	room:save();
	return is_there and 1 or 0;
end

-- Removes messages, and the subject, from what a room shows to people who join; returns how many. Each item has
-- an `id`.
local function scrub(owner, items)
	local room, count, ids = muc.get_room_from_jid(owner), 0, {};
	if not room then return 0; end
	local history = room._history or {};
	for _, item in ipairs(items) do ids[item.id] = true; end
	for at = #history, 1, -1 do
		local id = history[at].ephemerd_id or stanzas.archived_as(history[at].stanza, owner);
		if id and ids[id] then
			table.remove(history, at);
			count = count + 1;
		end
	end
	return count + clear_subject(room, ids);
end

return { watch = watch, tell_again = tell_again, scrub = scrub };
