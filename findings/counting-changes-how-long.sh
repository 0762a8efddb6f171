#!/usr/bin/env bash
# A counter in Django's and cachelib's caches forgets how long it was to be kept when it counts.
#
# Version: Django 5.2.19, cachelib 0.17.0 (PyPI), Python 3.11.
# Guess: incr() and inc() change the number only, as Redis' INCR and memcached's incr do.
# Behaviour: in Django's caches in files and in the database, and in cachelib's in memory and in files, the counter is set anew with the
#   cache's default timeout: one of five seconds outlives it, and one of an hour goes early where the default is five seconds. In Django's memory cache
#   the time stays.
# Seen, after seven seconds:
# | Django, memory: of five seconds gone, of an hour 2
# | Django, files: of five seconds 2, of an hour gone
# | Django, database: of five seconds 2, of an hour gone
# | cachelib, memory: of five seconds 2, of an hour gone
# | cachelib, files: of five seconds 2, of an hour gone
. "$(dirname "$0")/lib.sh"

python django==5.2.19 cachelib==0.17.0

cat >"$WORK/counters.py" <<'PY'
import sys
import time

import django
from cachelib import FileSystemCache, SimpleCache
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command

work, hour = sys.argv[1], 3600
backends = {
    "memory": ("locmem.LocMemCache", "counters"),
    "files": ("filebased.FileBasedCache", work + "/django"),
    "database": ("db.DatabaseCache", "counters"),
}


def cache(name, default):
    backend, location = backends[name]
    location = location if name == "database" else f"{location}-{default}"
    return {"BACKEND": "django.core.cache.backends." + backend, "LOCATION": location, "KEY_PREFIX": str(default), "TIMEOUT": default}


settings.configure(
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": work + "/django.sqlite"}},
    CACHES={"default": cache("memory", hour)} | {f"{name}-{default}": cache(name, default) for name in backends for default in (5, hour)},
)
django.setup()
call_command("createcachetable", verbosity=0)

# Each cache by its default timeout: a counter of five seconds where that is an hour, one of an hour where it is five.
counters = {
    "Django, memory": {default: caches[f"memory-{default}"] for default in (5, hour)},
    "Django, files": {default: caches[f"files-{default}"] for default in (5, hour)},
    "Django, database": {default: caches[f"database-{default}"] for default in (5, hour)},
    "cachelib, memory": {default: SimpleCache(default_timeout=default) for default in (5, hour)},
    "cachelib, files": {default: FileSystemCache(f"{work}/cachelib-{default}", default_timeout=default) for default in (5, hour)},
}
for name, by_default in counters.items():
    for default, timeout in ((hour, 5), (5, hour)):
        it = by_default[default]
        it.set("counter", 1, timeout=timeout)
        it.incr("counter") if name.startswith("Django") else it.inc("counter")
time.sleep(7)
for name, by_default in counters.items():
    short, long = (by_default[default].get("counter") or "gone" for default in (hour, 5))
    print(f"{name}: of five seconds {short}, of an hour {long}")
PY
python3 "$WORK/counters.py" "$WORK" 2>>"$WORK/log" | as_described
