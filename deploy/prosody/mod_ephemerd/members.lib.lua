-- Lists the members of a room, for timers that start when all of them have read a message.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0

local jid = require "util.jid";

-- A room with more members, or with longer names in all, is not listed.
local most_members, most_bytes = 500, 131072;

local host = module.host;
-- The room's own id of a member, whether or not they are there, is what its archive has of an occupant.
local has_ids = module:get_option_boolean("muc_occupant_id", true);

-- The members of a room, owners and admins included, in order; nil if there is no such room. The second value is false if it
-- is not for members only, the third if not all members can be listed: there are too many, or whole domains.
local function of(room_jid)
	local muc = prosody.hosts[host].modules.muc;
	local room = muc and muc.get_room_from_jid(room_jid);
	if not room then return nil; end
	if not room:get_members_only() then return {}, false, false; end
	local nicks = {};
	for nick, occupant in room:each_occupant() do nicks[occupant.bare_jid] = nick; end
	local members, bytes = {}, 0;
	for member_jid, affiliation in room:each_affiliation() do
		if affiliation == "owner" or affiliation == "admin" or affiliation == "member" then
			local id = has_ids and room._data.occupant_id_salt and room.get_occupant_id
				and room:get_occupant_id({ bare_jid = member_jid }) or nil;
			bytes = bytes + #member_jid + #(nicks[member_jid] or "") + #(id or "");
			if not jid.node(member_jid) or #members == most_members or bytes > most_bytes then return {}, true, false; end
			members[#members+1] = { jid = member_jid, occupant = nicks[member_jid], ["occupant-id"] = id };
		end
	end
	table.sort(members, function (a, b) return a.jid < b.jid; end);
	return members, true, true;
end

return { of = of };
