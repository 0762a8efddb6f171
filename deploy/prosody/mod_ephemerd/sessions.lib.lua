-- Tracks marked messages that only sessions waiting to be resumed (XEP-0198) were sent, or nobody at all: the
-- daemon is notified, and again once somebody has received them. Only ids, and a bounded number of them.
--
-- Somebody who was sent a message over a live connection counts as having received it, until that session
-- hibernates or ends without having acknowledged it.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local filters = require "util.filters";
local jid = require "util.jid";
local st = require "util.stanza";

local stanzas = module:require "stanzas";

local xmlns_mam, xmlns_carbons = "urn:xmpp:mam:2", "urn:xmpp:carbons:2";
local forwarded_message = "{urn:xmpp:forward:0}forwarded/{jabber:client}message";
-- Maximum messages known in total and per user, and ids in one notice.
local most_known, most_of_user, most_ids = 10000, 500, 500;
-- Of one message so many sessions that have it are remembered, and as many that wait to be resumed with it.
local most_sessions = 16;
-- After mod_smacks, which keeps what a hibernating session is sent.
local filter_priority = -1000;

local host = module.host;
-- By user: { count, first, last, [number] = message, by_id }; `order` has everybody's messages, oldest first.
local users = {};
local order, first, last, known = {}, 1, 0, 0;
-- The module's notify(name, attr, stanza, items) and safely(work, ...), and whether the daemon understands our
-- notices.
local notify, safely;
local is_understood = false;

local function find(user, id)
	local of_user = users[user];
	return of_user and of_user.by_id[id];
end

local function forget(message)
	local of_user = users[message.user];
	if message.is_gone then return; end
	message.is_gone = true;
	of_user.by_id[message.id] = nil;
	of_user.count, known = of_user.count - 1, known - 1;
	if of_user.count == 0 then users[message.user] = nil; end
end

-- Appends to a sparse list. Drops missing elements at its start, and all of them once they are the majority.
local function append(list, message, from, to, count)
	to = to + 1;
	list[to] = message;
	while list[from] and list[from].is_gone do
		list[from], from = nil, from + 1;
	end
	if to - from > 2 * count + 16 then
		local kept = from - 1;
		for at = from, to do
			local it = list[at];
			list[at] = nil;
			if not it.is_gone then
				kept = kept + 1;
				list[kept] = it;
			end
		end
		to = kept;
	end
	return from, to;
end

-- Starts tracking a message. The oldest ones are dropped to make room.
local function learn(user, id)
	local found = find(user, id);
	if found then return found; end
	local of_user = users[user] or { count = 0, first = 1, last = 0, by_id = {} };
	users[user] = of_user;
	local message = { user = user, id = id, held_by = {}, waits_in = {} };
	of_user.by_id[id] = message;
	of_user.count, known = of_user.count + 1, known + 1;
	of_user.first, of_user.last = append(of_user, message, of_user.first, of_user.last, of_user.count);
	first, last = append(order, message, first, last, known);
	if of_user.count > most_of_user then forget(of_user[of_user.first]); end
	if known > most_known then forget(order[first]); end
	return message;
end

local function tell(name, user, ids)
	if not is_understood then return; end
	for at = 1, #ids, most_ids do
		local items = {};
		for i = at, math.min(at + most_ids - 1, #ids) do items[#items+1] = { id = ids[i] }; end
		notify(name, { owner = user .. "@" .. host }, nil, items);
	end
end

-- Removes a session from a list of them; whether it was there.
local function remove(list, resource)
	for at, it in ipairs(list) do
		if it == resource then return table.remove(list, at) ~= nil; end
	end
	return false;
end

-- A session waits to be resumed with it. Those that began to wait last are the likeliest to be.
local function wait(message, resource)
	local list = message.waits_in;
	remove(list, resource);
	if #list >= most_sessions then table.remove(list, 1); end
	list[#list+1] = resource;
end

-- A session has received it. Adds the id to `ids` if that is news. One that is not remembered may have a message that
-- counts as undelivered: it waits longer.
local function hold(message, resource, ids)
	remove(message.waits_in, resource);
	remove(message.held_by, resource);
	if #message.held_by < most_sessions then table.insert(message.held_by, resource); end
	message.is_queued = nil;
	if message.told == "undelivered" then
		message.told = "delivered";
		ids[#ids+1] = message.id;
	end
end

-- Adds the id to `ids` if nobody has received it and that is news.
local function settle(message, ids)
	if #message.held_by == 0 and not message.is_queued and message.told ~= "undelivered" then
		message.told = "undelivered";
		ids[#ids+1] = message.id;
	end
end

-- The archived message that a stanza delivers to its owner: itself, as a carbon, or from the archive.
local function brought(stanza, owner)
	if not st.is_stanza(stanza) or stanza.name ~= "message" then return nil; end
	local is_own = not stanza.attr.from or stanza.attr.from == owner;
	local result = is_own and stanza:get_child("result", xmlns_mam);
	if result then return result.attr.id, true; end
	local carbon = is_own and stanza:get_child("received", xmlns_carbons);
	local message = carbon and carbon:find(forwarded_message) or stanza;
	local kind = message.attr.type or "normal";
	if kind ~= "chat" and kind ~= "normal" or not stanzas.is_marked(message) then return nil; end
	return stanzas.archived_as(message, owner);
end

-- The same, if it is tracked or to be tracked: a result is of any message, marked or not.
local function tracked(stanza, user)
	local id, is_result = brought(stanza, user .. "@" .. host);
	return id and (is_result and find or learn)(user, id);
end

local function is_ours(session)
	return session.host == host and session.username and session.resource;
end

local function sent(stanza, session)
	local user, ids = session.username, {};
	local message = tracked(stanza, user);
	if not message then return; end
	hold(message, session.resource, ids);
	tell("delivered", user, ids);
end

local function filter(stanza, session)
	if is_ours(session) then safely(sent, stanza, session); end
	return stanza;
end

local function watch(session)
	filters.add_filter(session, "stanzas/out", filter, filter_priority);
end

-- A session was sent these messages, and has not received them.
local function lost(session, queue)
	local user, ids = session.username, {};
	for _, stanza in ipairs(queue) do
		local message = tracked(stanza, user);
		if message then
			remove(message.held_by, session.resource);
			wait(message, session.resource);
			settle(message, ids);
		end
	end
	tell("undelivered", user, ids);
end

-- A stanza was routed to everybody who should get it.
local function routed(event)
	local stanza = event.stanza;
	if not stanzas.is_marked(stanza) then return; end
	local user, ids = stanza.attr.to and jid.node(stanza.attr.to) or event.origin.username, {};
	local id = user and stanzas.archived_as(stanza, user .. "@" .. host);
	local message = id and find(user, id);
	if not message then return; end
	settle(message, ids);
	tell("undelivered", user, ids);
	local of_user = prosody.hosts[host].sessions[user];
	local sessions = of_user and of_user.sessions or {};
	-- If nobody else has received it, the session's own queue settles the matter.
	if not message.told and #message.held_by > 0 and not next(sessions, next(sessions)) then forget(message); end
end

local function resumed(session)
	local of_user, ids = users[session.username], {};
	for _, message in pairs(of_user and of_user.by_id or {}) do
		if remove(message.waits_in, session.resource) then hold(message, session.resource, ids); end
	end
	tell("delivered", session.username, ids);
end

-- A marked message entered a user's archive. The user's own messages are not tracked.
local function archived(user, id, stanza)
	local to = stanza.attr.to and jid.bare(stanza.attr.to) or user .. "@" .. host;
	if to == user .. "@" .. host then learn(user, id); end
end

-- It is in the offline queue, whose copy is announced separately.
local function queued(user, id)
	if id then learn(user, id).is_queued = true; end
end

-- Announces again what is known of a user.
local function tell_again(user)
	local ids = { undelivered = {}, delivered = {} };
	for id, message in pairs(users[user] and users[user].by_id or {}) do
		if message.told then table.insert(ids[message.told], id); end
	end
	tell("undelivered", user, ids.undelivered);
	tell("delivered", user, ids.delivered);
end

local function start(told, guard)
	notify, safely = told, guard;
	filters.add_filter_hook(watch);
	for _, user in pairs(prosody.hosts[host].sessions) do
		for _, session in pairs(user.sessions) do watch(session); end
	end
	for _, name in ipairs { "message/bare", "message/full" } do
		module:wrap_event(name, function (handlers, event_name, event)
			local result = handlers(event_name, event);
			safely(routed, event);
			return result;
		end);
	end
	module:hook("smacks-hibernation-start", function (event)
		if is_ours(event.origin) then safely(lost, event.origin, event.queue); end
	end);
	module:hook("smacks-hibernation-stanza-queued", function (event)
		local session = event.origin;
		local id = is_ours(session) and brought(event.stanza, session.username .. "@" .. host);
		local message = id and find(session.username, id);
		if message then wait(message, session.resource); end
	end);
	module:hook("smacks-hibernation-end", function (event)
		local session = event.resumed or event.origin;
		if is_ours(session) then safely(resumed, session); end
	end);
	module:wrap_event("delivery/failure", function (handlers, name, event)
		local result = handlers(name, event);
		if is_ours(event.session) then safely(lost, event.session, { event.stanza }); end
		return result;
	end);
	function module.unload()
		filters.remove_filter_hook(watch);
		for _, user in pairs(prosody.hosts[host].sessions) do
			for _, session in pairs(user.sessions) do filters.remove_filter(session, "stanzas/out", filter); end
		end
	end
end

return {
	start = start;
	archived = archived;
	queued = queued;
	tell_again = tell_again;
	users = function () return users; end;
	understood = function (is) is_understood = is; end;
};
