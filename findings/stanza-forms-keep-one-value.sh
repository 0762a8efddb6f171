#!/usr/bin/env bash
# stanza.js keeps one of several values of a form field that does not say its type, as an answer and the rows of a result need not.
#
# Version: stanza 12.22.1 (npm), its XML and XEP-0004 part alone.
# Guess: export(import(form)) has all values, and `value` is a list where there are several.
# Behaviour: without a type `value` is the first one, and only that is written again; the others are left in `rawValues`, which is not
#   written. XEP-0004 does without types in a form that is submitted, and in the rows of a result, where <reported/> has them:
#   a bot or a proxy that reads and passes on an answer loses what else was chosen.
# Seen, the values that come in, `value`, and the values that go out:
# | typed: romeo juliet, ["romeo","juliet"], romeo juliet
# | submit: romeo juliet, "romeo", romeo
# | result: romeo juliet, "romeo", romeo
. "$(dirname "$0")/lib.sh"

node_packages stanza@12.22.1

cat >"$WORK/forms.mjs" <<'JS'
import { createClient, JXT } from "stanza";
const stanzas = createClient({}).stanzas;
const field = (type) => `<field var="who"${type}><value>romeo</value><value>juliet</value></field>`;
const forms = {
  typed: `<x xmlns="jabber:x:data" type="form">${field(' type="list-multi"')}</x>`,
  submit: `<x xmlns="jabber:x:data" type="submit">${field("")}</x>`,
  result: `<x xmlns="jabber:x:data" type="result"><reported><field var="who" type="list-multi"/></reported><item>${field("")}</item></x>`,
};
const values = (text) => [...text.matchAll(/<value>(.*?)<\/value>/g)].map((value) => value[1]).join(" ");
for (const [name, form] of Object.entries(forms)) {
  const read = stanzas.import(JXT.parse(`<message xmlns="jabber:client">${form}</message>`));
  const { value } = (read.forms[0].items ?? read.forms)[0].fields[0];
  console.log(`${name}: ${values(form)}, ${JSON.stringify(value)}, ${values(stanzas.export("message", read).toString())}`);
}
JS
node "$WORK/forms.mjs" | as_described
