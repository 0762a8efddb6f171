#!/usr/bin/env bash
# `15M` is fifteen minutes to PostgreSQL and fifteen months to systemd and to Rust's humantime.
#
# Version: PostgreSQL 15.18 and systemd 252 (Debian 12), humantime 2.4.0.
# Guess: PostgreSQL reads 15M as months, as the others do and as ISO 8601 has it outside the time of day.
# Behaviour: units of its verbose form are in either case, `M` is `m`, minutes. ISO 8601's P15M is months and PT15M minutes in
#   the same function. The other two tell M and m apart.
# Seen:
# | PostgreSQL 15m: 00:15:00
# | PostgreSQL 15M: 00:15:00
# | PostgreSQL P15M: 1 year 3 mons
# | systemd 15m: 15min
# | systemd 15M: 1y 3month
# | humantime 15m: 15m
# | humantime 15M: 1year 3months 43m 12s
. "$(dirname "$0")/lib.sh"

programs systemd-analyze
systemd-analyze --version | grep -q '^systemd 252 ' || fail "needs systemd 252: apt-get install systemd on Debian 12"
postgres_15

{
    for span in 15m 15M P15M; do
        echo "PostgreSQL $span: $("${PSQL[@]}" -c "SELECT interval '$span'")"
    done
    for span in 15m 15M; do
        echo "systemd $span: $(systemd-analyze timespan "$span" | sed -n 's/ *Human: //p')"
    done
    rust 'humantime = "=2.4.0"' <<'RUST'
fn main() {
    for span in ["15m", "15M"] {
        let read = humantime::parse_duration(span).unwrap();
        println!("humantime {span}: {}", humantime::format_duration(read));
    }
}
RUST
} | as_described
