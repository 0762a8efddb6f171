#!/usr/bin/env bash
# A message that stanza.js has read is written with its words twice.
#
# Version: stanza 12.22.1 (npm), a client's own registry of stanzas.
# Guess: export(import(message)) has the body that came in.
# Behaviour: import gives the body twice, as `body` and as an entry of `alternateLanguageBodies`; export writes both into
#   one <body/>, one behind the other. The same happens to a subject and to a presence's status. Whoever sends on a
#   message object as it was received sends doubled words, and each hop doubles them again.
# Seen:
# | {"body":"pay 1 now","alternateLanguageBodies":[{"lang":"","value":"pay 1 now"}]}
# | <message xmlns="jabber:client" type="chat"><body>pay 1 nowpay 1 now</body></message>
# | <presence xmlns="jabber:client"><status>awayaway</status></presence>
. "$(dirname "$0")/lib.sh"

node_packages stanza@12.22.1

cd "$WORK"
cat >finding.mjs <<'JS'
import { createClient, JXT } from 'stanza';

const { stanzas } = createClient({ jid: 'a@example.org', password: 'x' });
const message = stanzas.import(JXT.parse(
    `<message xmlns="jabber:client" type="chat"><body>pay 1 now</body></message>`));
const { body, alternateLanguageBodies } = message;
console.log(JSON.stringify({ body, alternateLanguageBodies }));
console.log(stanzas.export('message', message).toString());
const presence = stanzas.import(JXT.parse(
    `<presence xmlns="jabber:client"><status>away</status></presence>`));
console.log(stanzas.export('presence', presence).toString());
process.exit();
JS
cd "$OLDPWD"
node "$WORK/finding.mjs" | as_described
