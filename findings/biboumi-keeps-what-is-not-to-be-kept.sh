#!/usr/bin/env bash
# biboumi's archive of a channel has the messages that asked not to be stored.
#
# Version: biboumi 9.0 (Debian 12), with its default settings, an XMPP server and an IRC server of a few lines each.
# Guess: it archives what is said in a channel, and leaves out what carries <no-store/> or <no-permanent-store/> (XEP-0334).
# Behaviour: hints mean nothing to it, and neither does a timer: all is kept, answered to queries, and shown at the next join, without
#   the hint. Each user can switch it off for herself, by the command "configure" and its field "Record History".
# Seen, what its archive answers, and what a second device is shown when it joins:
# | asked: plain, no-store, no-permanent-store, ephemeral
# | joined: plain, no-store, no-permanent-store, ephemeral
# | hints in the answer: none
. "$(dirname "$0")/lib.sh"

debian biboumi=9.0-5+b1
programs python3 biboumi

cat >"$WORK/servers.py" <<'PY'
import asyncio
import re
import sys

ADDRESS = "127.0.0.77"  # an IRC network of its own, on the usual port
CHANNEL = f"#den%{ADDRESS}@irc.localhost"
EXTENSIONS = {
    "plain": "",
    "no-store": "<no-store xmlns='urn:xmpp:hints'/>",
    "no-permanent-store": "<no-permanent-store xmlns='urn:xmpp:hints'/>",
    "ephemeral": "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='1'/>",
}


async def irc(reader, writer):
    nick = "?"
    while line := (await reader.readline()).decode().strip():
        word, _, rest = line.partition(" ")
        answers = []
        if word == "NICK":
            nick = rest
        elif word == "USER":
            answers = [f":irc 001 {nick} :Welcome", f":irc 376 {nick} :End"]
        elif word == "JOIN":
            answers = [f":{nick}!u@h JOIN :#den", f":irc 353 {nick} = #den :{nick}", f":irc 366 {nick} #den :End"]
        elif word == "PING":
            answers = [f":irc PONG irc {rest}"]
        writer.write("".join(f"{it}\r\n" for it in answers).encode())


class Xmpp:
    text = ""

    async def until(self, pattern, since=0):
        for _ in range(300):
            if found := re.search(pattern, self.text[since:], re.S):
                return found
            await asyncio.sleep(0.05)
        raise TimeoutError(pattern)

    async def read(self, reader):
        while data := await reader.read(65536):
            self.text += data.decode()

    async def play(self, reader, writer):
        asyncio.ensure_future(self.read(reader))
        say = lambda text: writer.write(text.encode())
        await self.until("<stream:stream")
        say("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='irc.localhost' id='1'>")
        await self.until("<handshake")
        say("<handshake/>")
        join = "<presence from='alice@localhost/{0}' to='{1}/alice'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        say(join.format("one", CHANNEL))
        await self.until("<subject")
        for name, extension in EXTENSIONS.items():
            say(f"<message from='alice@localhost/one' to='{CHANNEL}' type='groupchat' id='{name}'><body>{name} words</body>{extension}</message>")
            await self.until(f"<body>{name} words</body>")
        await asyncio.sleep(2)
        mark = len(self.text)
        say(f"<iq from='alice@localhost/one' to='{CHANNEL}' type='set' id='ask'><query xmlns='urn:xmpp:mam:2'/></iq>")
        await self.until("<fin", mark)
        answer = self.text[mark:]
        mark = len(self.text)
        say(join.format("two", CHANNEL))
        await self.until("<subject", mark)
        print("asked:", ", ".join(re.findall("<body>([a-z-]*) words", answer)))
        print("joined:", ", ".join(re.findall("<body>([a-z-]*) words", self.text[mark:])))
        print("hints in the answer:", ", ".join(re.findall("urn:xmpp:hints|urn:xmpp:ephemeral:0", answer)) or "none")
        self.done.set()


async def main(folder):
    xmpp = Xmpp()
    xmpp.done = asyncio.Event()
    await asyncio.start_server(irc, ADDRESS, 6667)
    server = await asyncio.start_server(xmpp.play, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with open(f"{folder}/biboumi.cfg", "w", encoding="utf-8") as file:
        file.write(f"hostname=irc.localhost\npassword=x\nport={port}\ndb_name={folder}/biboumi.sqlite\nidentd_port=0\nlog_level=2\nlog_file={folder}/biboumi.log\n")
    biboumi = await asyncio.create_subprocess_exec("biboumi", f"{folder}/biboumi.cfg", stdout=sys.stderr)
    try:
        await asyncio.wait_for(xmpp.done.wait(), 60)
    finally:
        biboumi.kill()


asyncio.run(main(sys.argv[1]))
PY
python3 "$WORK/servers.py" "$WORK" 2>>"$WORK/log" | as_described
