#!/usr/bin/env bash
# xmpp.js before 0.14 resumes a stream and does not send again what the server never got.
#
# Version: @xmpp/client 0.13.4 and 0.14.0 (npm).
# Guess: both keep what they sent until it is acknowledged, as XEP-0198 demands, and send it again after `<resumed h='0'/>`; where
#   resumption fails, they tell their user.
# Behaviour: 0.13.4 counts what comes and resumes, but keeps nothing: two messages that the server never counted are lost, and nobody
#   is told. 0.14.0 sends them again, or tells of each with the event `fail`. A bot that should not lose messages on
#   bad connections needs 0.14.
# Seen, by a server that cuts the connection after two messages without acknowledging them; the number is the connection's:
# | 0.13.4, resumed: 1:one 1:two 2:three; told of: nothing
# | 0.13.4, failed: 1:one 1:two 2:three; told of: nothing
# | 0.14.0, resumed: 1:one 1:two 2:one 2:two 2:three; told of: nothing
# | 0.14.0, failed: 1:one 1:two 2:three; told of: one two
. "$(dirname "$0")/lib.sh"

node_packages old@npm:@xmpp/client@0.13.4 new@npm:@xmpp/client@0.14.0

cat >"$WORK/finding.mjs" <<'JS'
import net from 'node:net';
import { createRequire } from 'node:module';

const { client, xml } = createRequire(import.meta.url)(process.argv[2]);
const resumes = process.argv[3] === 'resumed';
const got = [], told = [];
let connections = 0;

const STREAM = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='s' from='localhost' version='1.0'>";
const LOGIN = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>";
const BIND = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const JID = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>alice@localhost/r</jid></bind>";
const FAILED = "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";

// What the server does with each thing that a client may say here.
const says = [
  [/^(<\?xml[^>]*>)?\s*<stream:stream[^>]*>/, (s) => s.send(STREAM + (s.in ? BIND : LOGIN))],
  [/^<auth[^>]*(>[^<]*<\/auth>|\/>)/, (s) => { s.in = true; s.send("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"); }],
  [/^<iq[^>]*id="([^"]*)"[^>]*>.*?<\/iq>/s, (s, m) => s.send(`<iq type='result' id='${m[1]}'>${m[0].includes('xmpp-bind') ? JID : ''}</iq>`)],
  [/^<enable[^>]*\/>/, (s) => s.send("<enabled xmlns='urn:xmpp:sm:3' id='x' resume='true'/>")],
  [/^<resume[^>]*\/>/, (s) => s.send(resumes ? "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>" : FAILED)],
  [/^<message[^>]*>.*?<body>(.*?)<\/body>.*?<\/message>/s, (s, m) => {
    got.push(`${s.nth}:${m[1]}`);
    if (s.nth === 1 && m[1] === 'two') s.cut();
  }],
  [/^<(presence|r|a)\b[^>]*\/>/, () => {}],
];

const server = net.createServer((socket) => {
  const session = { nth: ++connections, in: false, send: (text) => socket.write(text), cut: () => socket.destroy() };
  let text = '';
  socket.setEncoding('utf8').on('error', () => {}).on('data', (data) => {
    text += data;
    for (let found = true; found;) {
      found = says.some(([pattern, answer]) => {
        const match = text.match(pattern);
        if (!match) return false;
        text = text.slice(match[0].length);
        answer(session, match);
        return true;
      });
    }
  });
});

const until = async (probe) => {
  for (let n = 0; n < 200 && !probe(); n++) await new Promise((done) => setTimeout(done, 50));
};
const message = (words) => xml('message', { to: 'bob@localhost', type: 'chat' }, xml('body', {}, words));

server.listen(0, '127.0.0.1', async () => {
  const xmpp = client({ service: `xmpp://127.0.0.1:${server.address().port}`, domain: 'localhost' });
  let online = 0;
  xmpp.on('error', () => {}).on('status', (status) => { online += status === 'online' ? 1 : 0; });
  xmpp.streamManagement.on?.('fail', (stanza) => told.push(stanza.getChildText('body')));
  await xmpp.start();
  await until(() => online === 1);
  await Promise.all(['one', 'two'].map((words) => xmpp.send(message(words))));
  await until(() => connections === 2 && xmpp.status === 'online');
  // What is sent again is sent before this.
  await new Promise((done) => setTimeout(done, 1000));
  await xmpp.send(message('three'));
  await until(() => got.includes('2:three'));
  console.log(`${got.join(' ')}; told of: ${told.join(' ') || 'nothing'}`);
  process.exit();
});
JS

for how in "old 0.13.4" "new 0.14.0"; do
    for end in resumed failed; do
        echo "${how#* }, $end: $(timeout 20 node "$WORK/finding.mjs" "${how% *}" "$end" 2>>"$WORK/log")"
    done
done | as_described
