#!/usr/bin/env bash
# For a million i18next shows the name of a message instead of its French or Spanish text, or the text in English.
#
# Version: i18next 26.7.2, intl-messageformat 12.1.5 (npm), with Node 20 or later.
# Guess: where a translation has no text for a form of its language, the one for "other" is taken, as with ICU's messages.
# Behaviour: French, Spanish, Italian and Portuguese have a form "many" for whole millions. If a translation has texts for "one" and "other"
#   only, "other" is not tried: the key itself is shown, and with a fallback language that language's text. All other numbers are right.
# Seen, of a translation with texts for "one" and "other", alone and with English to fall back on:
# | fr: 1 jour, 2 jours, 1000000: kept, 1000001 jours; falling back: 1000000 days
# | es: 1 día, 2 días, 1000000: kept, 1000001 días; falling back: 1000000 days
# | it: 1 giorno, 2 giorni, 1000000: kept, 1000001 giorni; falling back: 1000000 days
# | pt: 1 dia, 2 dias, 1000000: kept, 1000001 dias; falling back: 1000000 days
# | intl-messageformat, fr: 1000000 jours
. "$(dirname "$0")/lib.sh"

node_packages i18next@26.7.2 intl-messageformat@12.1.5

cat >"$WORK/million.mjs" <<'JS'
import i18next from "i18next";
import { IntlMessageFormat } from "intl-messageformat";

const texts = (one, other) => ({ translation: { kept_one: `{{count}} ${one}`, kept_other: `{{count}} ${other}` } });
const en = texts("day", "days");
for (const [lng, one, other] of [["fr", "jour", "jours"], ["es", "día", "días"], ["it", "giorno", "giorni"], ["pt", "dia", "dias"]]) {
  const write = async (options) => {
    const messages = i18next.createInstance();
    await messages.init({ lng, ...options, resources: { [lng]: texts(one, other), en } });
    return (count) => messages.t("kept", { count });
  };
  const alone = await write({ fallbackLng: false }), falling = await write({ fallbackLng: "en" });
  console.log(`${lng}: ${alone(1)}, ${alone(2)}, 1000000: ${alone(1e6)}, ${alone(1000001)}; falling back: ${falling(1e6)}`);
}
const icu = new IntlMessageFormat("{count, plural, one {{count, number, ::group-off} jour} other {{count, number, ::group-off} jours}}", "fr");
console.log(`intl-messageformat, fr: ${icu.format({ count: 1e6 })}`);
JS
node "$WORK/million.mjs" 2>>"$WORK/log" | as_described
