"""ephemerd's ad-hoc commands (docs/users.md) as clients see them: by slixmpp's own plugins forth, back and to the end; by hand in Profanity."""

import asyncio
import os
import shutil
import time

import slixmpp
from slixmpp.exceptions import IqError

from apps import Profanity
from peer import Peer
from stage import Stage, until
from wire import Wire

POLICY, KEPT = "urn:ephemerd:policy", "urn:ephemerd:kept"


class Asker(slixmpp.ClientXMPP):
    """A client that asks in German."""

    def __init__(self, jid: str, password: str):
        super().__init__(jid, password, lang="de")
        for plugin in ("xep_0004", "xep_0030", "xep_0050"):
            self.register_plugin(plugin)
        self.plugin["feature_mechanisms"].unencrypted_scram = True
        self.enable_direct_tls = self.enable_starttls = False
        self.enable_plaintext = True

    async def say(self, to: str, node: str, **what):
        """One step of a command."""
        iq = await self.plugin["xep_0050"].send_command(to, node, **what)
        return iq["command"]

    def filled(self, which: str):
        form = self.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="which", value=which)
        return form


def values(command) -> dict:
    return {var: field["value"] for var, field in command["form"].get_fields().items()}


async def ask(stage: Stage, user: str) -> dict:
    at = stage.at
    client = Asker(f"{user}@{at['domain']}", at["password"])
    host, port = stage.address()
    started = asyncio.get_running_loop().create_future()
    client.add_event_handler("session_start", lambda _: started.set_result(True))
    client.connect(host, port)
    await asyncio.wait_for(started, 60)
    to = f"ephemerd.{at['domain']}"
    items = await client.plugin["xep_0050"].get_commands(to)
    listed = [item[1] for item in items["disco_items"]["items"]]
    assert sorted(listed) == sorted([POLICY, KEPT]), listed

    policy = await client.say(to, POLICY)
    assert policy["status"] == "completed"
    assert values(policy)["hint-keep-for"] == "keine", values(policy)

    begun = await client.say(to, KEPT)
    assert begun["status"] == "executing" and set(begun["actions"]) == {"next", "complete"}, begun
    session = begun["sessionid"]
    shown = await client.say(to, KEPT, action="next", sessionid=session, payload=client.filled("archive"))
    assert set(shown["actions"]) == {"prev", "complete"}, shown
    before = values(shown)
    assert before["archive-going"] == "1" and "queue-going" not in before, before
    back = await client.say(to, KEPT, action="prev", sessionid=session)
    assert values(back)["which"] == "archive", values(back)
    done = await client.say(to, KEPT, action="complete", sessionid=session, payload=client.filled("both"))
    assert done["status"] == "completed" and values(done)["queue-going"] == "0", values(done)
    try:
        await client.say(to, KEPT, action="complete", sessionid=session)
        raise AssertionError("a session is used twice")
    except IqError as error:
        assert error.iq["error"]["condition"] == "bad-request", error
        assert "bad-sessionid" in str(error.iq), error

    begun = await client.say(to, KEPT)
    canceled = await client.say(to, KEPT, action="cancel", sessionid=begun["sessionid"])
    assert canceled["status"] == "canceled", canceled
    await client.disconnect()
    return before


def play(stage: Stage, peter: Peer) -> None:
    """Beside a message that goes at the time that the form says."""
    user = "asker"
    stage.tell(f"register {user}")
    jid = f"{user}@{stage.at['domain']}"
    own = Peer(stage.address(), stage.at["domain"], user, stage.at["password"])
    peter.say(jid, "quince", "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='20'/>")
    recorded = f"SELECT 1 FROM ephemerd.expiries WHERE owner = '{user}'"
    until("the message is recorded", 60, lambda: stage.sql(recorded))
    before = asyncio.run(ask(stage, user))
    assert stage.rows(user, "quince"), "it stands until then"
    until("the message goes", 120, lambda: not stage.rows(user, "quince"))
    gone = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    assert gone >= before["archive-next"], (gone, before)
    own.close()


def play_profanity(stage: Stage, peter: Peer, folder: str) -> None:
    """The same by hand, in Debian's Profanity."""
    user, to = "asking", f"ephemerd.{stage.at['domain']}"
    stage.tell(f"register {user}")
    shutil.rmtree(os.path.join(folder, user), ignore_errors=True)
    wire = Wire(stage.address(), stage.at["domain"])
    app = Profanity("trixie", folder, user, stage.at, wire)
    peter.say(app.jid, "quince", "<ephemeral xmlns='urn:xmpp:ephemeral:0' timer='900'/>")
    recorded = f"SELECT 1 FROM ephemerd.expiries WHERE owner = '{user}'"
    until("the message is recorded", 60, lambda: stage.sql(recorded))
    try:
        app.start()
        for line, shows in (
            (f"/cmd list {to}", KEPT),
            (f"/cmd exec {POLICY} {to}", "Shortest timer: no limit"),
            (f"/cmd exec {KEPT} {to}", "[archive] In your archive"),
            ("/field1 archive", "Field updated"),
            ("/form submit", "Because the sender set a timer: 1"),
        ):
            app.type(line)
            until(f"{shows} after {line}", 30, lambda shows=shows: shows in app.text())
    finally:
        app.stop_hard()
        wire.close()
