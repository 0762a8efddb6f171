#!/bin/bash
# listening PORT…: whether something listens on each of these ports in this container. It reads the kernel's
# tables, because connecting would leave lines in the server's log each time.
set -euo pipefail
for port in "$@"; do
    # 0A is the state LISTEN.
    grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$port") [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6
done
