#!/usr/bin/env bash
# A text of several paragraphs that Prosody puts into a form arrives as one paragraph.
#
# Version: util.dataforms of Prosody 0.12.3 (Debian 12) and 13.0.1-1+deb131u (Debian 13), with lua5.4 5.4.4.
# Guess: what form() writes, data() reads as it was: each line of a text-multi is a value, the empty one too.
# Behaviour: only lines that have something in them are written. Read from a client empty ones are kept, so that a module which shows
#   the text that is in force, to be changed, loses its paragraphs when the form comes back as it went.
# Seen, with | for a new line:
# | 0.12.3, asked with "Dear all,||words|": the form has "Dear all,|words"
# | 0.12.3, answered with "Dear all,||words|": "Dear all,||words|" is read
# | 13.0.1, asked with "Dear all,||words|": the form has "Dear all,|words"
# | 13.0.1, answered with "Dear all,||words|": "Dear all,||words|" is read
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1
debian_13 prosody=13.0.1-1+deb131u

cat >"$WORK/forms.lua" <<'LUA'
-- 13.0.1 has its own way to find its files.
local loader = loadfile(os.getenv("HERE") .. "/loader.lua");
if loader then loader(); end
local dataforms = require "util.dataforms";
local st = require "util.stanza";

local version, text = ..., "Dear all,\n\nwords\n";
local function shown(lines) return '"' .. lines:gsub("\n", "|") .. '"'; end
local layout = dataforms.new { { name = "body", type = "text-multi" } };

local lines = {};
for value in layout:form({ body = text }):get_child("field"):childtags("value") do lines[#lines + 1] = value:get_text() or ""; end
print(string.format("%s, asked with %s: the form has %s", version, shown(text), shown(table.concat(lines, "\n"))));

local answer = st.stanza("x", { xmlns = "jabber:x:data", type = "submit" }):tag("field", { var = "body" });
for line in (text .. "\n"):gmatch("(.-)\n") do answer:text_tag("value", line); end
print(string.format("%s, answered with %s: %s is read", version, shown(text), shown(layout:data(answer:reset()).body)));
LUA

# From the sources in a folder; what they need in C is 0.12.3's.
by_sources() {
    HERE=$1 LUA_PATH="$1/?.lua;;" LUA_CPATH='/usr/lib/prosody/?.so;;' lua5.4 "$WORK/forms.lua" "$2"
}

{
    by_sources /usr/lib/prosody 0.12.3
    by_sources "$WORK/debian-13/usr/lib/prosody" 13.0.1
} | as_described
