-- What ephemerd must know of a stanza, and what takes its place. Nothing here reads or writes a store.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local st = require "util.stanza";

local xmlns_ephemeral = "urn:xmpp:ephemeral:0";
local xmlns_event = "http://jabber.org/protocol/pubsub#event";
local xmlns_sid = "urn:xmpp:sid:0";
local xmlns_hints = "urn:xmpp:hints";
local xmlns_placeholder = "urn:ephemerd:0";

-- A longer or deeper stanza is told of in its reduced form.
local longest_bytes, deepest_levels = 131072, 32;
-- Where even that is too long, so many timers are told, the shortest ones.
local most_timers, longest_timer_text, most_seconds = 16, 64, 4294967295;

local hints = {
	["no-permanent-store"] = true, ["no-permanent-storage"] = true, ["no-store"] = true, ["no-storage"] = true;
};

-- Whether an element is a mark where it stands directly in a message, by its namespace.
local marks = {
	[xmlns_ephemeral] = function () return true; end;
	[xmlns_hints] = function (name) return hints[name]; end;
	[xmlns_placeholder] = function (name) return name == "expired"; end;
};

local function has_mark(message)
	for _, tag in ipairs(message.tags) do
		local is_mark = marks[tag.attr.xmlns];
		if is_mark and is_mark(tag.name) then return true; end
	end
	return false;
end

-- The messages inside ejabberd's MUC/Sub event, which another server may have sent.
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

-- What is left of a stanza whose words are gone. In a queue it stays recognisable as the copy that it is.
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

-- The id under which `owner` archived it: the last one, for the server adds its own after whatever a sender wrote.
local function archived_as(stanza, owner)
	local id;
	for tag in stanza:childtags("stanza-id", xmlns_sid) do
		if tag.attr.by == owner then id = tag.attr.id; end
	end
	return id;
end

-- Whether there are more levels of elements than so many.
local function is_deeper(element, levels)
	for _, tag in ipairs(element.tags) do
		if levels <= 1 or is_deeper(tag, levels - 1) then return true; end
	end
	return false;
end

-- Which attributes say something, of elements that are told of.
local telling = {
	[xmlns_ephemeral] = { "timer" }; [xmlns_hints] = {}; [xmlns_placeholder] = { "until" }; [xmlns_sid] = { "by", "id" };
};

local function speaks_of_retention(tag)
	local xmlns = tag.attr.xmlns;
	local is_mark = marks[xmlns];
	return is_mark and is_mark(tag.name) or xmlns == xmlns_hints and tag.name == "store"
		or xmlns == xmlns_sid and tag.name == "stanza-id";
end

-- A message without the words, but with all that speaks of retention. `is_inner` stands in a MUC/Sub event, where none is looked for.
local function reduced(message, is_inner)
	local short = like(message, { "from", "to", "type", "id" });
	for _, tag in ipairs(message.tags) do
		local xmlns = tag.attr.xmlns;
		local child;
		if speaks_of_retention(tag) then
			child = like(tag, telling[xmlns]);
			-- Our placeholders are empty; what is not is none.
			if xmlns == xmlns_placeholder and #tag > 0 then child:text("…"); end
		else
			child = st.stanza(tag.name, { xmlns = xmlns });
			if tag.name == "body" and xmlns == message.attr.xmlns and #tag > 0 then
				child:text("…");
			elseif not is_inner and xmlns == xmlns_event and tag.name == "event" then
				for _, inner in ipairs(wrapped(tag)) do
					child:tag("items", { xmlns = xmlns_event, node = "urn:xmpp:mucsub:nodes:messages" })
						:tag("item", { xmlns = xmlns_event }):add_child(reduced(inner, true)):up():up();
				end
			end
		end
		short:add_direct_child(child);
	end
	return short;
end

-- The seconds of a timer, as the daemon reads them; nil where it is no number, or written at length.
local function seconds_of(timer)
	local number = timer and #timer <= longest_timer_text and timer:match("^%s*%+?(%d*%.?%d*)%s*$");
	local seconds = number and tonumber(number);
	return seconds and math.min(math.ceil(seconds), most_seconds);
end

-- The last resort, whatever a user sends: one of each hint, the shortest timers, and that there were words.
local function barely(message)
	local short, timers, seen = like(message, { "from", "to" }), {}, {};
	if message.attr.type == "error" or message.attr.type == "groupchat" then short.attr.type = message.attr.type; end
	local function take(tags)
		for _, tag in ipairs(tags) do
			local xmlns = tag.attr.xmlns;
			local is_timer = xmlns == xmlns_ephemeral and tag.name == "ephemeral";
			local seconds = is_timer and seconds_of(tag.attr.timer);
			local is_hint = xmlns == xmlns_hints and speaks_of_retention(tag) or xmlns == xmlns_ephemeral and tag.name == "i-want-out";
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

-- The stanza as it is told of, its length in bytes, and "true" where it was cut down.
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

-- A time as XEP-0082 writes it, as exact as the server keeps it: whole seconds up to 0.12.
local function format_stamp(when)
	local seconds = math.floor(when);
	local micros = math.floor((when - seconds) * 1000000 + 0.5);
	if micros >= 1000000 then seconds, micros = seconds + 1, 0; end
	local fraction = micros > 0 and (("." .. ("%06d"):format(micros)):gsub("0+$", "")) or "";
	return os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. fraction .. "Z";
end

-- The same time as `format_stamp` writes it, or nil where it is none.
local function normal_stamp(text)
	local seconds, fraction = (text or ""):match("^(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d)(%.?%d*)Z$");
	if not seconds or fraction == "." or #fraction > 10 then return nil; end
	return seconds .. fraction:gsub("0+$", ""):gsub("^%.$", "") .. "Z";
end

return {
	is_marked = is_marked;
	placeholder = placeholder;
	archived_as = archived_as;
	told = told;
	format_stamp = format_stamp;
	normal_stamp = normal_stamp;
};
