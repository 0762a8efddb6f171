#!/usr/bin/env bash
# A promtool rule test cannot expect NaN.
#
# Version: promtool 2.42.0 (Debian 12).
# Guess: `value: NaN` matches a sample that is NaN: PromQL itself and the input series write it so.
# Behaviour: `NaN` is refused, since YAML spells it `.nan`; with `.nan` the test fails and shows the same words for what was
#   expected and what was found, since NaN equals nothing. `expr == expr` or `absent` has to stand in for it.
# Seen:
# | NaN: cannot unmarshal !!str `NaN` into float64
# | .nan: exp: {} NaN
# | .nan: got: {} NaN
# | count without NaN: passed
. "$(dirname "$0")/lib.sh"

debian prometheus=2.42.0+ds-5+deb12u1

# One test of an expression over a series that is NaN: its output.
try() {
    cat >"$WORK/test.yml" <<YAML
tests:
  - interval: 1m
    input_series: [{ series: ratio, values: "NaN" }]
    promql_expr_test: [{ expr: "$1", eval_time: 0m, exp_samples: [$2] }]
YAML
    promtool test rules "$WORK/test.yml" 2>&1 || true
}

{
    echo "NaN: $(try 'ratio + 0' '{ value: NaN }' | grep -o 'cannot unmarshal.*')"
    try 'ratio + 0' '{ value: .nan }' | sed -n 's/^ *\(exp:\|got:\) /.nan: \1 /p'
    try 'count(ratio == ratio) or vector(0)' '{ value: 0 }' | grep -q SUCCESS && echo "count without NaN: passed"
} | as_described
