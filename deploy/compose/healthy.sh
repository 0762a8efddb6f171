#!/bin/bash
# Asks /healthz without curl, which the image does not have.
exec 3<>"/dev/tcp/127.0.0.1/${1:-10466}" || exit 1
printf 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
read -r _ code _ <&3
[ "$code" = 200 ]
