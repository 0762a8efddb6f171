-- Announces what shows that users have read something: their displayed markers, replies and reactions, and the
-- positions that they publish (XEP-0490). Only ids and addresses, only the kinds that the daemon asks for, and a
-- bounded number of them, which are remembered for as long as the daemon may have missed them.
--
-- What users send passes here before anything else looks at it, so it counts also where the server keeps no copy. What
-- occupants send passes where the room hands it out, so only what the room accepts counts there.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local jid = require "util.jid";
local unpack = table.unpack or unpack; -- luacheck: ignore 113

local stanzas = module:require "stanzas";

local xmlns_pubsub, xmlns_mds = "http://jabber.org/protocol/pubsub", "urn:xmpp:mds:displayed:0";
local xmlns_muc_user, xmlns_sid = "http://jabber.org/protocol/muc#user", "urn:xmpp:sid:0";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
-- Maximum items remembered in total and per user, and items in one notice.
local most_known, most_of_user, most_items = 5000, 100, 100;
-- Of one stanza's references to messages only so many count. Longer ones, chat and id together in bytes, do not.
local most_references, most_bytes = 8, 256;
-- What came within this time is announced together.
local gather_seconds = 0.02;
local remembered_seconds = 86400;

local host = module.host;
local now = stanzas.has_fractions and require "util.time".now or os.time;

-- What the daemon asks for: its names of the kinds, as keys.
local wanted, wanted_in_rooms = {}, {};
-- The module's notify(name, attr, stanza, items), safely(work, ...), and whether the component is connected.
local notify, safely, is_connected;

-- By user or room: what is to be announced.
local waiting, is_armed = {}, false;

-- What is remembered of users or rooms, oldest first. If it is too much, a tenth is forgotten: all of those users of whom
-- nothing new has come for longest.
local function memory(most, most_of_one)
	local users, count, number = {}, 0, 0;
	local function make_room()
		local names = {};
		for user in pairs(users) do names[#names+1] = user; end
		local function newest(user) return users[user][#users[user]].number; end
		table.sort(names, function (a, b) return newest(a) < newest(b); end);
		for _, user in ipairs(names) do
			if count <= most * 0.9 then return; end
			count, users[user] = count - #users[user], nil;
		end
	end
	return {
		add = function (user, what)
			local of_user = users[user] or {};
			users[user], number, count = of_user, number + 1, count + 1;
			of_user[#of_user+1] = { what = what, number = number, at = os.time() };
			if #of_user > most_of_one then
				table.remove(of_user, 1);
				count = count - 1;
			end
			if count > most then make_room(); end
		end;
		of = function (user) return users[user] or {}; end;
		users = function () return users; end;
		clear = function () users, count = {}, 0; end;
		forget_before = function (time)
			count = 0;
			for user, of_user in pairs(users) do
				while of_user[1] and of_user[1].at < time do table.remove(of_user, 1); end
				if #of_user == 0 then users[user] = nil; end
				count = count + #of_user;
			end
		end;
	};
end

local told, archived = memory(most_known, most_of_user), memory(most_known, most_of_user);
local forgotten_at = os.time();

local function forget_old()
	local time = os.time();
	if time - forgotten_at < remembered_seconds / 24 then return; end
	forgotten_at = time;
	told.forget_before(time - remembered_seconds);
	archived.forget_before(time - remembered_seconds);
end

local function tell(user, items)
	for at = 1, #items, most_items do
		notify("read", { owner = user .. "@" .. host }, nil, { unpack(items, at, math.min(at + most_items - 1, #items)) });
	end
end

-- Without the component nothing is sent: it asks for what is remembered when it is back.
local function flush()
	is_armed = false;
	local all = waiting;
	waiting = {};
	forget_old();
	if not is_connected() then return; end
	for user, items in pairs(all) do tell(user, items); end
end

-- When the message that is read up to was archived, as far as is known.
local function upto(user, by, chat, id)
	local known = by ~= "reply" and archived.of(user) or {};
	for at = #known, 1, -1 do
		local message = known[at].what;
		if message.chat == chat and message[by] == id then return stanzas.format_stamp(message.when); end
	end
end

-- `reader`: what is known of who read it in a room, whose archive the id is of.
local function shown(user, by, chat, id, reader)
	local asked = reader and wanted_in_rooms or wanted;
	if not asked[by] or not chat or not stanzas.is_id(id) or #chat + #id > most_bytes then return; end
	if id:find("%c") or chat:find("%c") or chat == user .. "@" .. host and not reader then return; end
	local item = { by = by, chat = chat, id = id, stamp = stanzas.format_stamp(now()), upto = upto(user, by, chat, id) };
	if reader then
		if #(reader.occupant or "") + #(reader.jid or "") > 2 * most_bytes then return; end
		item["in"], item.occupant, item.jid, item["occupant-id"] = "room", reader.occupant, reader.jid, reader.id;
		item.upto = item.upto or reader.upto;
	end
	told.add(user, item);
	local items = waiting[user] or {};
	waiting[user] = items;
	items[#items+1] = item;
	if not is_armed then
		is_armed = true;
		module:add_timer(gather_seconds, function () safely(flush); end);
	end
end

-- The archive id that an element of XEP-0490 names, if it is one of this owner's archive.
local function position(displayed, owner)
	local id = displayed and displayed:get_child("stanza-id", xmlns_sid);
	return id and id.attr.by == owner and id.attr.id or nil;
end

local readers = {
	["urn:xmpp:chat-markers:0"] = function (tag) return tag.name == "displayed" and "marker", tag.attr.id; end;
	["urn:xmpp:reply:0"] = function (tag) return tag.name == "reply" and "reply", tag.attr.id; end;
	["urn:xmpp:reactions:0"] = function (tag) return tag.name == "reactions" and "reply", tag.attr.id; end;
	-- A client may leave it to the server to publish it.
	[xmlns_mds] = function (tag, owner) return tag.name == "displayed" and "mds", position(tag, owner); end;
};

-- Calls `each` with kind and id of what a stanza shows to have been read.
local function references(stanza, owner, each)
	local count = 0;
	for _, tag in ipairs(stanza.tags) do
		local reader, by, id = readers[tag.attr.xmlns], nil, nil;
		if reader then by, id = reader(tag, owner); end
		if by and id and count < most_references then
			count = count + 1;
			each(by, id);
		end
	end
end

local function sent(origin, stanza)
	local user, to, kind = origin.username, stanza.attr.to, stanza.attr.type;
	if not user or not to or kind == "error" or kind == "groupchat" then return; end
	references(stanza, user .. "@" .. host, function (by, id)
		shown(user, by, stanza:get_child("x", xmlns_muc_user) and to or jid.bare(to), id);
	end);
end

-- What a room of this server knows of one who has read up to this id, if it is there and has this module.
local function known_in(room_jid, reader_jid, id)
	local rooms = prosody.hosts[jid.host(room_jid)];
	return rooms and rooms.events.fire_event("ephemerd-reader", { room = room_jid, jid = reader_jid, id = id }) or {};
end

-- Whether or not the server accepts the item: only its owner could send it.
local function published(origin, stanza)
	local user = origin.username;
	local pubsub = user and not stanza.attr.to and stanza.attr.type == "set" and stanza:get_child("pubsub", xmlns_pubsub);
	local publish = pubsub and pubsub:get_child("publish", xmlns_pubsub);
	if not publish or publish.attr.node ~= xmlns_mds then return; end
	local owner, count = user .. "@" .. host, 0;
	for item in publish:childtags("item", xmlns_pubsub) do
		local displayed, chat = item:get_child("displayed", xmlns_mds), jid.prep(item.attr.id);
		local id = position(displayed, owner);
		-- Of a room a position names the room's archive.
		local id_in_room = not id and chat and chat ~= owner and not jid.resource(chat) and position(displayed, chat);
		if (id or id_in_room) and count < most_references then
			count = count + 1;
			if id then
				shown(user, "mds", chat, id);
			elseif wanted_in_rooms.mds then
				shown(user, "mds", chat, id_in_room, known_in(chat, owner, id_in_room));
			end
		end
	end
end

-- Handed out by a room. The occupant's name is the room's word, and so is the real address.
local function sent_in_room(room, stanza)
	local occupant = room:get_occupant_by_nick(stanza.attr.from);
	if not occupant then return; end
	local id_tag = stanza:get_child("occupant-id", xmlns_occupant_id);
	local reader = { occupant = occupant.nick, jid = occupant.bare_jid, id = id_tag and id_tag.attr.id };
	references(stanza, room.jid, function (by, id)
		if by ~= "mds" then shown(jid.node(room.jid), by, room.jid, id, reader); end
	end);
end

-- What is known of one who is in a room and has read up to this id.
local function reader_in(event)
	local muc = prosody.hosts[host].modules.muc;
	local room = muc and muc.get_room_from_jid(event.room);
	if not room then return; end
	local reader = { upto = upto(jid.node(room.jid), "mds", room.jid, event.id) };
	for nick, occupant in room:each_occupant() do
		if occupant.bare_jid == event.jid then
			reader.occupant, reader.id = nick, occupant.stable_id;
			return reader;
		end
	end
	return reader;
end

-- A message entered a user's archive, marked or not. The daemon knows only marked ones, and others may be named.
local function stored(user, id, stanza)
	local from, own_id = stanza.attr.from, stanza.attr.id;
	local is_received = from and jid.bare(from) ~= user .. "@" .. host;
	local other = is_received and from or stanza.attr.to;
	local chat = stanza:get_child("x", xmlns_muc_user) and other or jid.bare(other);
	if not chat or #chat + #id + #(own_id or "") > most_bytes then return; end
	archived.add(user, { chat = chat, marker = own_id, mds = id, when = now() });
end

-- The same in a room, where a message is named by its id in the archive.
local function stored_in_room(room, stanza)
	local id = stanzas.archived_as(stanza, room.jid);
	if not id or #room.jid + #id > most_bytes then return; end
	archived.add(jid.node(room.jid), { chat = room.jid, marker = id, mds = id, when = now() });
end

-- What is known of a user, announced again.
local function tell_again(user)
	local items = {};
	for _, known in ipairs(told.of(user)) do
		if os.time() - known.at <= remembered_seconds then items[#items+1] = known.what; end
	end
	tell(user, items);
end

local function kinds(names)
	local named = {};
	for name in (names or ""):gmatch("%S+") do
		named[({ markers = "marker", replies = "reply" })[name] or name] = true;
	end
	return named;
end

-- What the daemon asks for: names with spaces between, or nil.
local function want(names, names_in_rooms)
	wanted, wanted_in_rooms = kinds(names), kinds(names_in_rooms);
	if next(wanted) or next(wanted_in_rooms) then return; end
	waiting = {};
	told.clear();
	archived.clear();
end

local function start(announce, guard, connected)
	notify, safely, is_connected = announce, guard, connected;
	for _, name in ipairs { "pre-message/bare", "pre-message/full" } do
		module:hook(name, function (event)
			if next(wanted) then safely(sent, event.origin, event.stanza); end
		end, 1000);
	end
	module:hook("archive-message-added", function (event)
		if next(wanted) then safely(stored, event.for_user, event.id, event.stanza); end
	end);
	module:hook("pre-iq/bare", function (event)
		if wanted.mds or wanted_in_rooms.mds then safely(published, event.origin, event.stanza); end
	end, 1000);
end

local function start_in_rooms(announce, guard, connected)
	notify, safely, is_connected = announce, guard, connected;
	-- After whatever may stop it.
	module:hook("muc-broadcast-message", function (event)
		if next(wanted_in_rooms) then safely(sent_in_room, event.room, event.stanza); end
	end, -10);
	-- After mod_muc_mam has archived it, and before the room's history, which lets nobody see it after that.
	module:hook("muc-add-history", function (event)
		if next(wanted_in_rooms) then safely(stored_in_room, event.room, event.stanza); end
	end, -0.5);
	module:hook("ephemerd-reader", function (event)
		if next(wanted_in_rooms) then return reader_in(event); end
	end);
end

return {
	start = start;
	start_in_rooms = start_in_rooms;
	want = want;
	tell_again = tell_again;
	users = told.users;
};
