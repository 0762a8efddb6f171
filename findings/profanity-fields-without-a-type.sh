#!/usr/bin/env bash
# Profanity shows no value of a form's field that has no type, and prints what follows on the same line.
#
# Version: Profanity 0.13.1 and Prosody 0.12.3 (Debian 12).
# Guess: a field without a type is text-single, as XEP-0004 says, so that libraries may leave the type out; its value is shown.
# Behaviour: only the label is shown. The value is not, and the line does not end.
# Seen, of two fields with the value "shown" in the answer to an ad-hoc command:
# | [field1] With a type: shown
# | [field2] Without:
. "$(dirname "$0")/lib.sh"

debian profanity=0.13.1-2 prosody=0.12.3-1+deb12u1
python --no-deps pyte==0.8.2 wcwidth==0.2.13
programs profanity prosody prosodyctl

mkdir -p "$WORK/prosody/data" "$WORK/prosody/certs" "$WORK/home"
cat >"$WORK/prosody/mod_finding.lua" <<'LUA'
local st = require "util.stanza";
local commands = "http://jabber.org/protocol/commands";
module:add_feature(commands);
module:hook("iq-set/host/" .. commands .. ":command", function (event)
	local form = st.stanza("x", { xmlns = "jabber:x:data", type = "result" })
		:tag("field", { var = "one", label = "With a type", type = "text-single" }):text_tag("value", "shown"):up()
		:tag("field", { var = "two", label = "Without" }):text_tag("value", "shown"):up();
	local command = { xmlns = commands, node = "finding", sessionid = "1", status = "completed" };
	event.origin.send(st.reply(event.stanza):tag("command", command):add_child(form));
	return true;
end, 10);
LUA
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$WORK/prosody/prosody.cfg.lua" <<LUA
pidfile = "$WORK/prosody/pid"; data_path = "$WORK/prosody/data"; certificates = "$WORK/prosody/certs"
plugin_paths = { "$WORK/prosody" }; run_as_root = true
modules_enabled = { "finding", "disco", "saslauth", "roster" }; modules_disabled = { "s2s", "http", "posix", "admin_socket", "offline", "tls" }
interfaces = { "127.0.0.1" }; c2s_ports = { $port }; c2s_require_encryption = false; allow_unencrypted_plain_auth = true
authentication = "internal_plain"; log = { { levels = { min = "error" }, to = "console" } }
VirtualHost "localhost"
LUA
prosodyctl --config "$WORK/prosody/prosody.cfg.lua" register alice localhost unused >>"$WORK/log" 2>&1 || fail "prosodyctl: $(tail -3 "$WORK/log")"
prosody --config "$WORK/prosody/prosody.cfg.lua" -F >>"$WORK/log" 2>&1 &
SERVERS+=($!)
for _ in $(seq 100); do
    (echo >"/dev/tcp/127.0.0.1/$port") 2>>"$WORK/log" && break
    sleep 0.1
done

# Profanity in a terminal of its own, and the lines of its screen that show the form.
python3 - "$WORK/home" "$port" <<'PYTHON' | as_described
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pyte

home, port = sys.argv[1:]
screen = pyte.Screen(120, 50)
stream = pyte.ByteStream(screen)
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(HOME=home, XDG_CONFIG_HOME=home, XDG_DATA_HOME=home, TERM="xterm", LANG="C.UTF-8")
    os.execvp("profanity", ["profanity"])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))


def wait_for(text, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if any(text in line for line in screen.display):
            return True
        if select.select([terminal], [], [], 0.2)[0]:
            stream.feed(os.read(terminal, 65536))
    return False


def type_line(line):
    os.write(terminal, line.encode() + b"\r")


wait_for("Profanity")
type_line(f"/connect alice@localhost server 127.0.0.1 port {port} tls disable")
wait_for("password")
type_line("unused")
wait_for("logged in")
# It does not know what the server can do before some answers have come.
for _ in range(15):
    type_line("/cmd exec finding localhost")
    if wait_for("/form help", 2):
        break
os.kill(pid, signal.SIGTERM)
for line in screen.display:
    if "[field" in line:
        # What comes after it on the same line has the time in front.
        print(re.split(r" \d\d:\d\d:\d\d", line[line.index("[field"):])[0].rstrip())
PYTHON
