#!/usr/bin/env bash
# `alice@example.org.` is alice@example.org to Prosody, and somebody else to ejabberd and to client libraries.
#
# Version: Prosody 0.12.3, erlang-p1-xmpp 1.6.1 (ejabberd 23.01), both of Debian 12; slixmpp 1.17.0, @xmpp/jid 0.14.0.
#   Rust's jid 0.12.3, which takes long to build, answered as these two did.
# Guess: Prosody, slixmpp and the Rust library take the dot at the end of a domain away, as RFC 7622 (3.2) asks for before
#   addresses are compared; only ejabberd and @xmpp/jid leave it.
# Behaviour: only Prosody takes it away. To the others it is a domain of its own, so that an address which was written down like this
#   is not the one that answers.
# Seen:
# | Prosody: alice@example.org
# | ejabberd: alice@example.org.
# | slixmpp: alice@example.org., equal: False
# | @xmpp/jid: alice@example.org., equal: false
. "$(dirname "$0")/lib.sh"

debian prosody=0.12.3-1+deb12u1 lua5.4=5.4.4-3+deb12u1 erlang-p1-xmpp=1.6.1-1
programs lua5.4 erl
python slixmpp==1.17.0
node_packages @xmpp/jid@0.14.0

{
    echo "Prosody: $(LUA_CPATH='/usr/lib/prosody/?.so;;' LUA_PATH='/usr/lib/prosody/?.lua;;' lua5.4 -e 'print(require "util.jid".prep("alice@example.org."))')"
    erl -noshell -pa /usr/lib/erlang/lib/*/ebin -eval '
        {ok, _} = application:ensure_all_started(stringprep), jid:start(),
        Address = jid:tolower(jid:decode(<<"alice@example.org.">>)),
        io:format("ejabberd: ~s~n", [jid:encode(Address)]), halt().' 2>>"$WORK/log"
    python3 - <<'PYTHON'
from slixmpp import JID

address = JID("alice@example.org.")
print(f"slixmpp: {address}, equal: {address == JID('alice@example.org')}")
PYTHON
    cat >"$WORK/address.mjs" <<'JS'
import { jid } from "@xmpp/jid";
const address = jid("alice@example.org.");
console.log(`@xmpp/jid: ${address}, equal: ${address.equals(jid("alice@example.org"))}`);
JS
    node "$WORK/address.mjs"
} | as_described
