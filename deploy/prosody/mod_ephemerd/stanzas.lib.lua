-- What ephemerd must know of a stanza, and what replaces it. Nothing here reads or writes a store.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local datetime = require "util.datetime";
local st = require "util.stanza";
local utf8_length = require "util.encodings".utf8.length;

local xmlns_ephemeral = "urn:xmpp:ephemeral:0";
local xmlns_event = "http://jabber.org/protocol/pubsub#event";
local xmlns_sid = "urn:xmpp:sid:0";
local xmlns_hints = "urn:xmpp:hints";
local xmlns_placeholder = "urn:ephemerd:0";
-- When a message expires by older specifications (XEP-0023, XEP-0079).
local xmlns_expire, xmlns_amp = "jabber:x:expire", "http://jabber.org/protocol/amp";

-- Longer or deeper stanzas are sent in reduced form.
local longest_bytes, deepest_levels = 131072, 32;
-- If even that is too long, only this many timers are sent, the shortest ones.
local most_timers, longest_timer_text, most_seconds = 16, 64, 4294967295;

local hints = {
	["no-permanent-store"] = true, ["no-permanent-storage"] = true, ["no-store"] = true, ["no-storage"] = true;
};

local function is_expiry_rule(rule)
	return rule.name == "rule" and rule.attr.xmlns == xmlns_amp and rule.attr.condition == "expire-at";
end

-- Rules by which a message expires, unless they are a server's report about another message.
local function has_expiry_rule(amp)
	if amp.name ~= "amp" or amp.attr.status then return false; end
	for _, rule in ipairs(amp.tags) do
		if is_expiry_rule(rule) then return true; end
	end
	return false;
end

-- By namespace, whether an element is a mark when it is directly inside a message.
local marks = {
	[xmlns_ephemeral] = function () return true; end;
	[xmlns_hints] = function (tag) return hints[tag.name]; end;
	[xmlns_placeholder] = function (tag) return tag.name == "expired"; end;
	[xmlns_expire] = function (tag) return tag.name == "x"; end;
	[xmlns_amp] = has_expiry_rule;
};

local function is_mark(tag)
	local is_one = marks[tag.attr.xmlns];
	return is_one and is_one(tag);
end

local function has_mark(message)
	for _, tag in ipairs(message.tags) do
		if is_mark(tag) then return true; end
	end
	return false;
end

-- The messages inside an ejabberd MUC/Sub event, which may come from another server.
local function wrapped(event)
	local found = {};
	for items in event:childtags("items", xmlns_event) do
		if items.attr.node == "urn:xmpp:mucsub:nodes:messages" then
			for item in items:childtags("item", xmlns_event) do
				for message in item:childtags("message", "jabber:client") do
					found[#found+1] = message;
				end
			end
		end
	end
	return found;
end

local function is_marked(stanza)
	if stanza.name ~= "message" then return false; end
	if has_mark(stanza) then return true; end
	for event in stanza:childtags("event", xmlns_event) do
		for _, message in ipairs(wrapped(event)) do
			if has_mark(message) then return true; end
		end
	end
	return false;
end

-- An element with these attributes of another, and no others.
local function like(other, names)
	local attr = { xmlns = other.attr.xmlns };
	for _, name in ipairs(names) do attr[name] = other.attr[name]; end
	return st.stanza(other.name, attr);
end

-- What remains of an erased stanza. In a queue it stays recognisable as the copy that it is.
local function placeholder(stanza, until_stamp, is_queue)
	local left = like(stanza, { "from", "to", "type", is_queue and "id" or nil });
	left:add_direct_child(st.stanza("expired", { xmlns = xmlns_placeholder, ["until"] = until_stamp }));
	if is_queue then
		for tag in stanza:childtags("stanza-id", xmlns_sid) do
			left:add_direct_child(like(tag, { "by", "id" }));
		end
		for tag in stanza:childtags("delay", "urn:xmpp:delay") do
			left:add_direct_child(like(tag, { "from", "stamp" }));
		end
	end
	return left;
end

-- Whether a stanza contains only what `placeholder` leaves and what servers add.
local function is_placeholder(stanza)
	local expired = stanza:get_child("expired", xmlns_placeholder);
	if not expired or #expired > 0 or #stanza > #stanza.tags then return false; end
	for _, tag in ipairs(stanza.tags) do
		local is_added = tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid
			or tag.name == "delay" and tag.attr.xmlns == "urn:xmpp:delay";
		if tag ~= expired and not is_added then return false; end
	end
	return true;
end

-- The id under which `owner` archived it: the last one, because the server appends its own after whatever a
-- sender wrote.
local function archived_as(stanza, owner)
	local id;
	for tag in stanza:childtags("stanza-id", xmlns_sid) do
		if tag.attr.by == owner then id = tag.attr.id; end
	end
	return id;
end

-- Whether elements are nested deeper than this many levels.
local function is_deeper(element, levels)
	for _, tag in ipairs(element.tags) do
		if levels <= 1 or is_deeper(tag, levels - 1) then return true; end
	end
	return false;
end

-- The attributes that matter, by element.
local telling = {
	[xmlns_ephemeral] = { "timer" }; [xmlns_hints] = {}; [xmlns_placeholder] = { "until" }; [xmlns_sid] = { "by", "id" };
	[xmlns_expire] = { "seconds" }; [xmlns_amp] = {};
};

local function speaks_of_retention(tag)
	local xmlns = tag.attr.xmlns;
	return is_mark(tag) or xmlns == xmlns_hints and tag.name == "store"
		or xmlns == xmlns_sid and tag.name == "stanza-id";
end

-- A message without its text, but with everything that concerns retention. `is_inner`: it is inside a MUC/Sub
-- event, so no further one is looked for.
local function reduced(message, is_inner)
	local short = like(message, { "from", "to", "type", "id" });
	for _, tag in ipairs(message.tags) do
		local xmlns = tag.attr.xmlns;
		local child;
		if speaks_of_retention(tag) then
			child = like(tag, telling[xmlns]);
			for _, rule in ipairs(xmlns == xmlns_amp and tag.tags or {}) do
				if is_expiry_rule(rule) then child:add_child(like(rule, { "condition", "action", "value" })); end
			end
		else
			child = st.stanza(tag.name, { xmlns = xmlns });
		end
		if not is_inner and xmlns == xmlns_event and tag.name == "event" then
			for _, inner in ipairs(wrapped(tag)) do
				child:tag("items", { xmlns = xmlns_event, node = "urn:xmpp:mucsub:nodes:messages" })
					:tag("item", { xmlns = xmlns_event }):add_child(reduced(inner, true)):up():up();
			end
		elseif #tag > 0 and #child.tags == 0 then
			child:text("…"); -- what is empty carries no words, and our placeholders are empty
		end
		short:add_direct_child(child);
	end
	return short;
end

-- The same, without who sent it to whom.
local function without_words(message)
	local short = reduced(message);
	short.attr.from, short.attr.to, short.attr.id = nil, nil, nil;
	return short;
end

-- A timer's seconds, as the daemon reads them; nil if it is not a number, or too long.
local function seconds_of(timer)
	local number = timer and #timer <= longest_timer_text and timer:match("^%s*%+?(%d*%.?%d*)%s*$");
	local seconds = number and tonumber(number);
	return seconds and math.min(math.ceil(seconds), most_seconds);
end

-- The last resort, whatever a user sends: one of each hint, the shortest timers, and that there was content.
local function barely(message)
	local short, timers, seen = like(message, { "from", "to" }), {}, {};
	if message.attr.type == "error" or message.attr.type == "groupchat" then short.attr.type = message.attr.type; end
	local function take(tags)
		for _, tag in ipairs(tags) do
			local xmlns = tag.attr.xmlns;
			local is_timer = xmlns == xmlns_ephemeral and tag.name == "ephemeral";
			local seconds = is_timer and seconds_of(tag.attr.timer);
			local is_hint = xmlns == xmlns_hints and speaks_of_retention(tag) or xmlns == xmlns_ephemeral and tag.name == "i-want-out"
				or xmlns == xmlns_placeholder and tag.name == "once";
			if seconds and not seen[seconds] then
				seen[seconds], timers[#timers+1] = true, seconds;
			elseif is_hint and not seen[tag.name] then
				seen[tag.name] = true;
				short:add_direct_child(st.stanza(tag.name, { xmlns = xmlns }));
			end
		end
	end
	take(message.tags);
	for event in message:childtags("event", xmlns_event) do
		for _, inner in ipairs(wrapped(event)) do take(inner.tags); end
	end
	table.sort(timers);
	for i = 1, math.min(#timers, most_timers) do
		short:tag("ephemeral", { xmlns = xmlns_ephemeral, timer = ("%d"):format(timers[i]) }):up();
	end
	return short:text_tag("body", "…");
end

-- The stanza as it is sent, its length in bytes, and "true" if it was reduced.
local function told(stanza)
	local copy, is_reduced;
	local length = is_deeper(stanza, deepest_levels) and longest_bytes + 1 or #tostring(stanza);
	if length <= longest_bytes then
		copy = st.clone(stanza);
	else
		copy, is_reduced = reduced(stanza), "true";
		length = #tostring(copy);
	end
	if length > longest_bytes then
		copy = barely(stanza);
		length = #tostring(copy);
	end
	copy.attr.xmlns = "jabber:client";
	return copy, length, is_reduced;
end

-- A time in XEP-0082 format, as precise as the server stores it: whole seconds up to 0.12.
local function format_stamp(when)
	local seconds = math.floor(when);
	local micros = math.floor((when - seconds) * 1000000 + 0.5);
	if micros >= 1000000 then seconds, micros = seconds + 1, 0; end
	local fraction = micros > 0 and (("." .. ("%06d"):format(micros)):gsub("0+$", "")) or "";
	return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. fraction .. "Z";
end

-- A time normalised to the output of `format_stamp`, or nil if it is not a time.
local function normal_stamp(text)
	local seconds, fraction = (text or ""):match("^(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d)(%.?%d*)Z$");
	if not seconds or fraction == "." or #fraction > 10 then return nil; end
	return seconds .. fraction:gsub("0+$", ""):gsub("^%.$", "") .. "Z";
end

-- From 13.0 on stamps may have fractions; a trial tells whether they do.
local _, half = pcall(datetime.datetime, 0.5);
local has_fractions = tostring(half):find("00.5", 1, true) ~= nil;

local function is_id(text)
	local length = text and utf8_length(text);
	return length and length >= 1 and length <= 256;
end

-- Where in our code an error was raised, without the message text that the error may quote.
local function place_of(err)
	return tostring(err):match("[^/%s]+%.lua:%d+") or "elsewhere";
end

return {
	has_fractions = has_fractions;
	is_id = is_id;
	place_of = place_of;
	is_marked = is_marked;
	is_placeholder = is_placeholder;
	placeholder = placeholder;
	without_words = without_words;
	archived_as = archived_as;
	told = told;
	format_stamp = format_stamp;
	normal_stamp = normal_stamp;
};
