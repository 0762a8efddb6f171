#!/usr/bin/env bash
# slixmpp does not log in without TLS even by SCRAM, which never sends the password.
#
# Version: slixmpp 1.17.0.
# Guess: with `enable_plaintext` set, and a server that offers SCRAM-SHA-256 and PLAIN on a connection without TLS, it leaves
#   PLAIN alone and logs in by SCRAM, as other clients do.
# Behaviour: it tries neither, and reports that no method is left. `enable_plaintext` is about the connection only;
#   the plugin feature_mechanisms has a switch of its own, `unencrypted_scram`. A client that offers its user "do not insist on
#   TLS" and sets only the first, as poezio does, cannot log in at all: "Authentication failed, no login method available".
# Seen:
# | as it comes: no login method
# | unencrypted_scram: SCRAM-SHA-256
. "$(dirname "$0")/lib.sh"

python slixmpp==1.17.0

python3 - 2>>"$WORK/log" <<'PY' | as_described
import asyncio
import re

import slixmpp

HEAD = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1'"
    " from='localhost' version='1.0'><stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
    "<mechanism>SCRAM-SHA-256</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)


async def log_in(name, **settings):
    tried = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        await reader.read(4096)
        writer.write(HEAD.encode())
        text = (await reader.read(4096)).decode()
        found = re.search("mechanism=.([A-Z0-9-]+)", text)
        tried.done() or tried.set_result(found[1] if found else "no login method")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = slixmpp.ClientXMPP("alice@localhost", "secret", plugin_config={"feature_mechanisms": settings})
    client.enable_direct_tls = client.enable_starttls = False
    client.enable_plaintext = True
    client.connect("127.0.0.1", server.sockets[0].getsockname()[1])
    print(f"{name}:", await asyncio.wait_for(tried, 30))
    client.abort()
    server.close()


async def main():
    await log_in("as it comes")
    await log_in("unencrypted_scram", unencrypted_scram=True)


asyncio.run(main())
PY
