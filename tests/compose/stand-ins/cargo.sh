#!/bin/sh
install -D -m 755 /usr/local/lib/ephemerd target/release/ephemerd
