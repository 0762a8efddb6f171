#!/usr/bin/env bash
# images.sh PROGRAM: gives an engine (DOCKER_HOST) the images that our Dockerfiles and compose files name, where none can be pulled.
#
#   debian:bookworm-slim       made by debootstrap: Debian's own packages, though not the image that Debian's people build
#   postgres:15                STAND-IN, PostgreSQL 15 of Debian
#   prom/prometheus:v2.53.5    STAND-IN, Prometheus 2.42 of Debian
#   grafana/grafana:10.4.19    STAND-IN, no Grafana at all: it only answers
#   rust:1.95-bookworm         STAND-IN, compiles nothing: its cargo hands out PROGRAM
#
# All but the last are kept in target/images.
set -euo pipefail
cd "$(dirname "$0")/../.."
kept="$PWD/target/images"
program=$1
export DOCKER_BUILDKIT=0
docker=/usr/bin/docker
mkdir -p "$kept"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# kept_image NAME FILE COMMAND…: loads FILE if an earlier run created it, or else creates it.
kept_image() {
    local name=$1 made_of=$2 file
    file="$kept/$(printf %s "$name" | tr ':/' '--').tar"
    shift 2
    if [ "$file" -nt "$made_of" ]; then
        "$docker" load -q -i "$file"
        return
    fi
    echo "Making $name"
    "$@" >&2
    "$docker" save "$name" -o "$file.new"
    mv "$file.new" "$file"
}

bare_debian() {
    debootstrap --variant=minbase bookworm "$work/debian" >"$work/debootstrap.log" || { cat "$work/debootstrap.log"; return 1; }
    # This machine's package sources, which need not be the usual ones.
    cp /etc/apt/sources.list.d/*.sources "$work/debian/etc/apt/sources.list.d/" 2>/dev/null && : >"$work/debian/etc/apt/sources.list"
    rm -rf "$work/debian"/var/cache/apt/archives/*.deb "$work/debian"/var/lib/apt/lists/*
    tar -C "$work/debian" -c . | "$docker" import - debian:bookworm-slim
}

stand_in() { "$docker" build -q -t "$1" -f "tests/compose/stand-ins/$2.Dockerfile" "${3:-tests/compose/stand-ins}"; }

kept_image debian:bookworm-slim tests/compose/images.sh bare_debian
kept_image postgres:15 tests/compose/stand-ins/postgres.sh stand_in postgres:15 postgres
kept_image prom/prometheus:v2.53.5 tests/compose/stand-ins/prometheus.Dockerfile stand_in prom/prometheus:v2.53.5 prometheus
kept_image grafana/grafana:10.4.19 tests/compose/stand-ins/grafana.Dockerfile stand_in grafana/grafana:10.4.19 grafana
mkdir "$work/rust"
cp tests/compose/stand-ins/cargo.sh "$work/rust/"
strip --strip-debug -o "$work/rust/ephemerd" "$program"
stand_in rust:1.95-bookworm rust "$work/rust"
echo "Of these only debian:bookworm-slim is more than a stand-in."
