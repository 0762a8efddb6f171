#!/usr/bin/env bash
# roots.sh SUITE…: a Debian of each suite with its XMPP clients, beside the servers' root that tests/roots.sh makes. As root, once.
set -euo pipefail
roots="${LAB_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/ephemerd/roots}"
common=(profanity poezio dino-im gajim biboumi ngircd python3-slixmpp python3-nbxmpp python3-aiohttp
    xvfb xdotool xclip imagemagick openbox dbus dbus-x11 fonts-dejavu-core adwaita-icon-theme hicolor-icon-theme librsvg2-common gir1.2-secret-1 procps ca-certificates)
"$(dirname "$0")/../roots.sh" "$@"
for suite in "$@"; do
    root="$roots/$suite-clients"
    packages=("${common[@]}")
    [ "$suite" != bookworm ] || packages+=(gajim-omemo) # part of Gajim itself since
    [ "$(cat "$root/complete" 2>/dev/null)" != "${packages[*]}" ] || continue
    echo "Adding clients to a Debian ($suite) in $root: some minutes, once." >&2
    rm -rf "$root" "$root.new"
    cp -a "$roots/$suite" "$root.new"
    # shellcheck disable=SC2016 # Expanded within.
    unshare --mount sh -c 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" sh -c "$1"' "$root.new" \
        "export DEBIAN_FRONTEND=noninteractive LC_ALL=C
        apt-get update && apt-get install -y --no-install-recommends ${packages[*]}
        apt-get clean; dpkg --configure -a || true
        test -x /usr/bin/profanity && test -x /usr/bin/gajim && test -x /usr/bin/Xvfb" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" | sed 's#[a-z]*://[^ ]*#…#g' >&2; exit 1; }
    echo "${packages[*]}" >"$root.new/complete"
    mv "$root.new" "$root"
done
