#!/usr/bin/env bash
# An element in no namespace is delivered as it was sent, and comes out of an SQL archive in its parent's namespace.
#
# Version: Prosody 0.12.3, storage "internal" and "sql" (SQLite); erlang-p1-xml 1.1.49, with which ejabberd 23.01 reads its
#   streams and the rows of its SQL archive; both Debian 12.
# Guess: `xmlns=''` is kept by whatever reads XML, or else the element would change its name.
# Behaviour: a stream's parser notes the empty namespace, and the stanza goes out right, and right from an archive that keeps
#   it parsed. The parser for single texts notes no namespace at all, and what has none inherits when it is written. So a
#   client that was online and one that reads the archive see two elements. In erlang-p1-xml it is the same.
# Seen, of <x xmlns='urn:a'><y xmlns=''/></x>:
# | Prosody, a stream: y in no namespace
# | Prosody, archive in files: y in no namespace
# | Prosody, archive in SQL: y in urn:a
# | erlang-p1-xml, a stream: y in no namespace
# | erlang-p1-xml, a text: y in urn:a
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 erlang-p1-xml=1.1.49-2
dpkg-query -W lua-dbi-sqlite3 >>"$WORK/log" 2>&1 || fail "needs lua-dbi-sqlite3: apt-get install lua-dbi-sqlite3"
programs python3 erl

# Where y is, as a reader finds it.
where() {
    printf '%s: ' "$1"
    python3 -c '
import sys, xml.etree.ElementTree as tree
tag = tree.fromstring(sys.stdin.read()).find(".//{*}y").tag
print("y in", tag[1:-2] if "}" in tag else "no namespace")'
}

hosts="VirtualHost \"files\" storage = \"internal\"
VirtualHost \"sql\" storage = \"sql\" sql = { driver = \"SQLite3\", database = \"$WORK/prosody/data/sqlite\" }"
prosody_module "$hosts" <<'LUA'
local stream = require "util.xmppstream";
local archive = module:open_store("finding", "archive");

local function write(name, stanza)
	local out = assert(io.open(prosody.paths.data .. "/" .. name .. ".out", "w"));
	out:write(tostring(stanza));
	out:close();
end

module:add_timer(0.1, function ()
	local parser = stream.new({ notopen = true }, {
		default_ns = "jabber:client";
		streamopened = function (session) session.notopen = nil; end;
		handlestanza = function (_, stanza)
			write("stream", stanza);
			assert(archive:append("user", nil, stanza, 1, "a@example.org"));
			for _, archived in assert(archive:find("user", {})) do write(module.host, archived); end
		end;
	});
	parser:feed("<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>");
	parser:feed("<message><x xmlns='urn:a'><y xmlns=''/></x></message>");
	prosody.finished = (prosody.finished or 0) + 1;
	if prosody.finished == 2 then prosody.shutdown("done"); end
end);
LUA

cat >"$WORK/finding.erl" <<'ERLANG'
-module(finding).
-export([main/1]).

text() -> <<"<message><x xmlns='urn:a'><y xmlns=''/></x></message>">>.

main(stream) ->
    {ok, _} = application:ensure_all_started(fast_xml),
    Stream = fxml_stream:parse(fxml_stream:new(self()), <<"<stream>", (text())/binary>>),
    receive {'$gen_event', {xmlstreamelement, Element}} -> show(Element) end,
    fxml_stream:close(Stream);
main(text) ->
    show(fxml_stream:parse_element(text())).

show(Element) -> io:put_chars(fxml:element_to_binary(Element)).
ERLANG
erlc -o "$WORK" "$WORK/finding.erl"

{
    where "Prosody, a stream" <"$WORK/prosody/data/stream.out"
    where "Prosody, archive in files" <"$WORK/prosody/data/files.out"
    where "Prosody, archive in SQL" <"$WORK/prosody/data/sql.out"
    for from in stream text; do
        erl -noshell -pa "$WORK" -eval "finding:main($from), halt()." 2>>"$WORK/log" | where "erlang-p1-xml, a $from"
    done
} | as_described
