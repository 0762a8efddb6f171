# What the scripts share: a folder that goes at the end, pinned packages, and the verdict.
# shellcheck shell=bash
set -euo pipefail

# No script may take longer than this, however slow a registry is.
[ -n "${BOUNDED-}" ] || BOUNDED=1 exec timeout 115 "$0" "$@"

WORK=$(mktemp -d)
export ERL_CRASH_DUMP_BYTES=0
SERVERS=()
finish() {
    for pid in "${SERVERS[@]}"; do
        kill -INT "$pid" || true
        wait "$pid" || true
    done
    rm -rf "$WORK"
} 2>>"$WORK/log"
trap finish EXIT

fail() {
    echo "$0: $*" >&2
    exit 2
}

# Each program is there.
programs() {
    for program in "$@"; do
        command -v "$program" >>"$WORK/log" || fail "needs $program"
    done
}

# Each Debian package is installed in the given version: debian NAME=VERSION …
debian() {
    local pin version
    for pin in "$@"; do
        version=$(dpkg-query -W -f '${Version}' "${pin%%=*}" 2>>"$WORK/log") || true
        [ "$version" = "${pin#*=}" ] || fail "needs $pin, has '$version': apt-get install $pin"
    done
}

# Unpacks packages of Debian 13 below $WORK/debian-13, and installs nothing: debian_13 NAME=VERSION …
debian_13() {
    programs apt-get dpkg-deb
    local apt site pin
    # shellcheck disable=SC2016
    site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Release: bookworm' 'Component: main' | sed -n 1p)
    mkdir -p "$WORK/apt/lists/partial" "$WORK/apt/packages"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main" >"$WORK/apt/sources.list"
    apt=(apt-get -qq -o Dir::Etc::SourceList="$WORK/apt/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$WORK/apt/lists"
        -o Dir::Cache="$WORK/apt" -o APT::Sandbox::User=root -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)
    "${apt[@]}" update >>"$WORK/log" 2>&1 || fail "apt-get could not fetch the list of Debian 13"
    for pin in "$@"; do
        (cd "$WORK/apt/packages" && "${apt[@]}" download "$pin") >>"$WORK/log" 2>&1 || fail "needs $pin of Debian 13"
    done
    for pin in "$WORK/apt/packages"/*.deb; do
        dpkg-deb --extract "$pin" "$WORK/debian-13"
    done
}

# Python packages below $WORK/python, where Python finds them.
python() {
    programs python3
    python3 -m pip install --quiet --prefer-binary --disable-pip-version-check --root-user-action=ignore --target "$WORK/python" "$@" >>"$WORK/log" 2>&1 || fail "pip could not install $*"
    export PYTHONPATH=$WORK/python
}

# npm packages below $WORK.
node_packages() {
    programs node npm
    npm install --silent --no-audit --no-fund --prefix "$WORK" "$@" >>"$WORK/log" 2>&1 || fail "npm could not install $*"
}

# Runs a Rust program, given on standard input, with the crates that are named as lines of Cargo.toml.
rust() {
    programs cargo
    mkdir -p "$WORK/crate/src"
    printf '[package]\nname = "finding"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n' >"$WORK/crate/Cargo.toml"
    printf '%s\n' "$@" '[profile.dev]' 'debug = false' 'incremental = false' >>"$WORK/crate/Cargo.toml"
    cat >"$WORK/crate/src/main.rs"
    cargo build --quiet --manifest-path "$WORK/crate/Cargo.toml" --target-dir "$WORK/target" 2>>"$WORK/log" || fail "cargo could not build: $(tail -3 "$WORK/log")"
    "$WORK/target/debug/finding"
}

# Starts a PostgreSQL from the folder of binaries that is named, on a socket in $WORK only; it does not run as root.
# The array PSQL talks to the one that was started last.
postgres() {
    local as=() home=$WORK/pg${#SERVERS[@]}
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
    mkdir -m 777 "$home"
    chmod 755 "$WORK"
    "${as[@]}" "$1/initdb" -D "$home/data" -A trust -U finding -E UTF8 --locale=C --no-sync >>"$WORK/log" 2>&1 || fail "initdb: $(tail -3 "$WORK/log")"
    "${as[@]}" "$1/postgres" -D "$home/data" -k "$home" -c listen_addresses= -c timezone=UTC -c fsync=off >>"$WORK/log" 2>&1 &
    SERVERS+=($!)
    PSQL=(psql -X -q -A -t -h "$home" -U finding -d postgres)
    for _ in $(seq 100); do
        "${PSQL[@]}" -c '' 2>>"$WORK/log" && return
        sleep 0.1
    done
    fail "PostgreSQL did not start: $(tail -3 "$WORK/log")"
}

# PostgreSQL 15 as Debian 12 has it.
postgres_15() {
    debian postgresql-15=15.18-0+deb12u1
    postgres /usr/lib/postgresql/15/bin
}

# Runs a Prosody without listeners; the module, given on standard input, writes to `out` and shuts the server down.
prosody_module() {
    mkdir -p "$WORK/prosody/data" "$WORK/prosody/certs"
    cat >"$WORK/prosody/mod_finding.lua"
    cat >"$WORK/prosody/prosody.cfg.lua" <<LUA
pidfile = "$WORK/prosody/pid"; data_path = "$WORK/prosody/data"; certificates = "$WORK/prosody/certs"
plugin_paths = { "$WORK/prosody" }; run_as_root = true
modules_enabled = { "finding" }; modules_disabled = { "c2s", "s2s", "http", "posix", "admin_socket", "offline", "tls" }
log = { { levels = { min = "error" }, to = "console" } }
$1
LUA
    timeout 30 prosody --config "$WORK/prosody/prosody.cfg.lua" -F >>"$WORK/log" 2>&1 || fail "Prosody: $(tail -3 "$WORK/log")"
}

# Runs an Erlang module `finding`, given on standard input, with ejabberd's modules and $WORK/ejabberd.yml, by the call that is named.
# ejabberd itself is started by the module.
ejabberd_module() {
    programs erl erlc
    cat >"$WORK/finding.erl"
    cat >"$WORK/relay.erl" <<'ERLANG'
% A port on loopback for PostgreSQL's socket in a folder, which takes the place of PORT in a configuration.
-module(relay).
-export([start/2]).

start(Config, Socket) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {active, false}]),
    spawn_link(fun() -> accept(Listener, Socket) end),
    {ok, Port} = inet:port(Listener),
    {ok, Text} = file:read_file(Config),
    ok = file:write_file(Config, string:replace(Text, "PORT", integer_to_list(Port))).

accept(Listener, Socket) ->
    {ok, Client} = gen_tcp:accept(Listener),
    Pump = spawn(fun() ->
        receive go -> ok end,
        {ok, Server} = gen_tcp:connect({local, Socket}, 0, [local, binary]),
        ok = inet:setopts(Client, [{active, true}]),
        pump(Client, Server)
    end),
    ok = gen_tcp:controlling_process(Client, Pump),
    Pump ! go,
    accept(Listener, Socket).

pump(Client, Server) ->
    receive
        {tcp, Client, Bytes} -> ok = gen_tcp:send(Server, Bytes), pump(Client, Server);
        {tcp, Server, Bytes} -> ok = gen_tcp:send(Client, Bytes), pump(Client, Server);
        {tcp_closed, _} -> ok
    end.
ERLANG
    erlc -o "$WORK" "$WORK/finding.erl" "$WORK/relay.erl"
    EJABBERD_LOG_PATH="$WORK/ejabberd.log" erl -noshell -pa "$WORK" /usr/lib/*/ejabberd-*/ebin /usr/lib/erlang/lib/*/ebin \
        -mnesia dir "\"$WORK/mnesia\"" -ejabberd config "\"$WORK/ejabberd.yml\"" -eval "finding:$1, halt()." 2>>"$WORK/log"
}

# Judges standard input: it must be what the header shows in its lines `# | …`.
as_described() {
    local described seen
    described=$(sed -n 's/^# | \{0,1\}//p' "$0")
    seen=$(cat)
    [ -n "$seen" ] || fail "saw nothing: $(tail -3 "$WORK/log")"
    echo "$seen"
    [ "$seen" = "$described" ] || {
        echo "$0: changed; this was described:" >&2
        echo "$described" >&2
        exit 1
    }
    echo "As described."
}
