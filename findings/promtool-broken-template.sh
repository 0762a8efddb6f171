#!/usr/bin/env bash
# promtool check rules accepts an alert whose text can never be made; only a rule test shows it.
#
# Version: promtool 2.42.0 (Debian 12).
# Guess: the check runs the templates, as it runs the parser over the expressions, and refuses `{{ $labels.store.name }}`:
#   a label's value is a string and has no fields.
# Behaviour: SUCCESS. The alert fires with the error in place of its text, and so would have reached a person.
# Seen:
# | check rules: 1 rules found, exit code 0
# | {s="<error expanding template: error executing template __alert_Field
. "$(dirname "$0")/lib.sh"

debian prometheus=2.42.0+ds-5+deb12u1

cat >"$WORK/rules.yml" <<'YAML'
groups:
  - name: finding
    rules:
      - { alert: Field, expr: late > 0, annotations: { s: "{{ $labels.store.name }}" } }
YAML
cat >"$WORK/test.yml" <<'YAML'
rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series: [{ series: 'late{store="archive"}', values: "1 1" }]
    alert_rule_test:
      - { eval_time: 1m, alertname: Field, exp_alerts: [] }
YAML

{
    found=$(promtool check rules "$WORK/rules.yml" | grep -o '[0-9]* rules found')
    echo "check rules: $found, exit code 0"
    promtool test rules "$WORK/test.yml" >"$WORK/seen" 2>&1 || true
    grep -o '{s="<error expanding template: error executing template __alert_Field' "$WORK/seen"
} | as_described
