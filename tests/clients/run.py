"""Real clients beside real servers and ephemerd; `./dev test --clients`, which docs/clients.md describes.

run.py PROGRAMS [--only NAME,…] [--suite SUITE,…] [--server SERVER,…] [--scene NAME,…]: PROGRAMS is where `ephemerd` and `stage` are.
What was seen goes to tests/clients/seen.json, and the screens to target/clients.
"""

import argparse
import fcntl
import json
import os
import shutil
import sys
import time
import traceback

import commands
import gateway
import scenes
from apps import APPS, server_version
from peer import Peer
from stage import Stage
from wire import Wire, own_tls

HERE = os.path.dirname(os.path.abspath(__file__))
SEEN = os.path.join(HERE, "seen.json")


def play(stage: Stage, peter: Peer, app_class, suite: str, folder: str, chosen: list[str]) -> dict:
    """One client beside one server, with an account of its own."""
    user = f"{app_class.name}{suite[:2]}"
    stage.tell(f"register {user}")
    at = stage.at
    own = Peer(stage.address(), at["domain"], user, at["password"])
    peter.befriend(own)
    own.close()
    home = os.path.join(folder, user)
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(home)
    tls = own_tls(folder, at["domain"])
    shutil.copy(os.path.join(folder, "ca.pem"), home)
    # The usual port for all who look for it themselves.
    wire = Wire(stage.address(), at["domain"], *((tls, 5222) if app_class.needs_tls else ()))
    app = app_class(suite, folder, user, at, wire)
    try:
        seen = scenes.Play(stage, app, wire, peter, folder, tls).run(chosen)
    finally:
        app.stop_hard()
        wire.close()
        with open(os.path.join(folder, f"{user}.wire"), "w", encoding="utf-8") as file:
            for it in wire.stanzas:
                file.write(f"{it.time:.2f} {'>' if it.sent else '<'} {it.text}\n")
    return {"client": app.name, "version": app.version, "suite": suite, "library": app.library_version(), **beside(stage), "scenes": seen}


def beside(stage: Stage) -> dict:
    return {"server": stage.server, "server_version": server_version(stage.server)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    names = lambda text: text.split(",")
    parser.add_argument("--only", type=names, default=[*APPS, "biboumi", "commands"])
    parser.add_argument("--suite", type=names, default=["bookworm", "trixie", "pypi"])
    parser.add_argument("--server", type=names, default=["prosody", "ejabberd"])
    parser.add_argument("--scene", type=names, default=scenes.SCENES)
    parser.add_argument("--folder", default=os.path.join(HERE, "../../target/clients"))
    args = parser.parse_args()
    failed = 0
    for server in args.server:
        folder = os.path.abspath(os.path.join(args.folder, server))
        os.makedirs(folder, exist_ok=True)
        with Stage(server, args.programs) as stage:
            stage.tell("register peter")
            stage.daemon(timers__start="archived")
            peter = Peer(stage.address(), stage.at["domain"], "peter", stage.at["password"])
            for suite in args.suite:
                for name in args.only:
                    if name == "commands" or suite not in (APPS[name].suites if name in APPS else gateway.SUITES):
                        continue
                    began = time.monotonic()
                    try:
                        if name in APPS:
                            keep(play(stage, peter, APPS[name], suite, folder, args.scene))
                        else:
                            keep({**gateway.play(stage, suite, folder), **beside(stage)})
                        print(f"{server}: {name} of {suite}, {time.monotonic() - began:.0f} s", flush=True)
                    except Exception:  # pylint: disable=broad-except # The others still run.
                        failed += 1
                        print(f"{server}: {name} of {suite} FAILED", flush=True)
                        traceback.print_exc()
            if "commands" in args.only:
                try:
                    commands.play(stage, peter)
                    commands.play_profanity(stage, peter, folder)
                    print(f"{server}: commands", flush=True)
                except Exception:  # pylint: disable=broad-except # The other server is still to come.
                    failed += 1
                    print(f"{server}: commands FAILED", flush=True)
                    traceback.print_exc()
    return 1 if failed else 0


def keep(run: dict) -> None:
    """Puts a run in the place of the last one of that client beside that server."""
    with open(SEEN + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(run)


def write(run: dict) -> None:
    runs = []
    if os.path.exists(SEEN):
        with open(SEEN, encoding="utf-8") as file:
            runs = json.load(file)
    key = lambda it: (it["client"], it["suite"], it["server"], it["server_version"])
    old = next((it for it in runs if key(it) == key(run)), None)
    if old:
        runs.remove(old)
        # What another version did is no longer true of it; unstable's change.
        if old["version"] == run["version"]:
            run["scenes"] = {**old["scenes"], **run["scenes"]}
    runs = sorted(runs + [run], key=key)
    with open(SEEN, "w", encoding="utf-8") as file:
        json.dump(runs, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
