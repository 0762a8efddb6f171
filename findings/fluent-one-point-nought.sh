#!/usr/bin/env bash
# Fluent in Python writes "1.0 day" and "5,0 дней", in JavaScript "1.0 days" and "5,0 дня", as English and Russian want it.
#
# Version: fluent.runtime 0.4.0 with babel 2.19.0 (PyPI), @fluent/bundle 0.19.1 (npm), with Node 20 or later.
# Guess: both choose the form for the number as it is written, so that `NUMBER($n, minimumFractionDigits: 1)` of 1 is not one.
# Behaviour: fluent.runtime chooses it for the bare number and forgets the options that it is written with. Of a Decimal it counts
#   the digits behind the point, and does not write them.
# Seen, with the options in the selector and in the text:
# | Python, en, 1: 1.0 day
# | Python, ru, 5: 5,0 дней
# | Python, en, Decimal("1.0") without options: 1 days
# | JavaScript, en, 1: 1.0 days
# | JavaScript, ru, 5: 5,0 дня
. "$(dirname "$0")/lib.sh"

python --no-deps fluent.runtime==0.4.0 fluent.syntax==0.19.0 babel==2.19.0 pytz==2026.6 attrs==26.1.0 typing_extensions==4.16.0
node_packages @fluent/bundle@0.19.1

{
    PYTHONIOENCODING=utf-8 python3 - <<'PYTHON'
from decimal import Decimal

from fluent.runtime import FluentBundle, FluentResource

TENTHS = "NUMBER($n, minimumFractionDigits: 1)"
FORMS = {"en": "[one] {NUMBER} day\n *[other] {NUMBER} days", "ru": "[one] {NUMBER} день\n [many] {NUMBER} дней\n *[other] {NUMBER} дня"}


def write(language, number, options=TENTHS):
    bundle = FluentBundle([language], use_isolating=False)
    bundle.add_resource(FluentResource(f"age = {{ {options} ->\n {FORMS[language]}\n }}".replace("{NUMBER}", f"{{ {options} }}")))
    text, errors = bundle.format_pattern(bundle.get_message("age").value, {"n": number})
    assert not errors
    return text


print("Python, en, 1:", write("en", 1))
print("Python, ru, 5:", write("ru", 5))
print('Python, en, Decimal("1.0") without options:', write("en", Decimal("1.0"), "$n"))
PYTHON
    cat >"$WORK/write.mjs" <<'JS'
import { FluentBundle, FluentResource } from "@fluent/bundle";
const tenths = "NUMBER($n, minimumFractionDigits: 1)";
const forms = { en: "[one] {NUMBER} day\n *[other] {NUMBER} days", ru: "[one] {NUMBER} день\n [many] {NUMBER} дней\n *[other] {NUMBER} дня" };
for (const [language, n] of [["en", 1], ["ru", 5]]) {
  const bundle = new FluentBundle(language, { useIsolating: false });
  bundle.addResource(new FluentResource(`age = { ${tenths} ->\n ${forms[language]}\n }`.replaceAll("{NUMBER}", `{ ${tenths} }`)));
  console.log(`JavaScript, ${language}, ${n}: ${bundle.formatPattern(bundle.getMessage("age").value, { n })}`);
}
JS
    node "$WORK/write.mjs"
} | as_described
