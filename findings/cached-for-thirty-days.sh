#!/usr/bin/env bash
# What two caches for Node are to keep for thirty days is gone at once; a third keeps it and never sleeps again.
#
# Version: expiry-map 2.0.0, memory-cache 0.2.0, @isaacs/ttlcache 2.1.5, lru-cache 11.5.3, node-cache 5.1.2, quick-lru 7.3.0 (npm), Node 20 or later.
# Guess: Node's timers end after 24.8 days at most, so caches that use them look at the time again; what has thirty days is there a second later,
#   and waiting for it costs nothing.
# Behaviour: with expiry-map and memory-cache what has thirty days is gone within milliseconds, with no error; Node warns on stderr. lru-cache
#   with ttlAutopurge keeps it, but sets a timer of one millisecond again and again for the days beyond 24.8. 24 days are right everywhere.
# Seen, after half a second, and whether timers of a millisecond were set more than 50 times meanwhile:
# | expiry-map: 24 days kept, 30 days gone
# | memory-cache: 24 days kept, 30 days gone
# | ttlcache: 24 days kept, 30 days kept
# | lru-cache: 24 days kept, 30 days kept, busy
# | node-cache: 24 days kept, 30 days kept
# | quick-lru: 24 days kept, 30 days kept
. "$(dirname "$0")/lib.sh"

node_packages expiry-map@2.0.0 memory-cache@0.2.0 @isaacs/ttlcache@2.1.5 lru-cache@11.5.3 node-cache@5.1.2 quick-lru@7.3.0

cat >"$WORK/caches.mjs" <<'JS'
import { setTimeout as wait } from "node:timers/promises";
import { createRequire } from "node:module";
const require = createRequire(import.meta.url);

// Node says so each time that it sets a timer of a millisecond instead.
let shortened = 0;
process.on("warning", (it) => { if (it.name === "TimeoutOverflowWarning") shortened += 1; });

const { default: ExpiryMap } = await import("expiry-map");
const { Cache } = require("memory-cache");
const { TTLCache } = await import("@isaacs/ttlcache");
const { LRUCache } = await import("lru-cache");
const NodeCache = require("node-cache");
const { default: QuickLRU } = await import("quick-lru");

const caches = {
  "expiry-map": (ttl) => new ExpiryMap(ttl),
  "memory-cache": (ttl) => { const it = new Cache(); return { set: (key, value) => it.put(key, value, ttl), get: (key) => it.get(key) }; },
  "ttlcache": (ttl) => new TTLCache({ ttl }),
  "lru-cache": (ttl) => new LRUCache({ max: 10, ttl, ttlAutopurge: true }),
  "node-cache": (ttl) => new NodeCache({ stdTTL: ttl / 1000 }),
  "quick-lru": (ttl) => new QuickLRU({ maxSize: 10, maxAge: ttl }),
};
const [name] = process.argv.slice(2);
const seen = [];
for (const days of [24, 30]) {
  const cache = caches[name](days * 86_400_000);
  cache.set("key", "value");
  await wait(500);
  seen.push(`${days} days ${cache.get("key") === "value" ? "kept" : "gone"}`);
}
console.log(`${name}: ${seen.join(", ")}${shortened > 50 ? ", busy" : ""}`);
process.exit(0);
JS
for cache in expiry-map memory-cache ttlcache lru-cache node-cache quick-lru; do
    node "$WORK/caches.mjs" "$cache" 2>>"$WORK/log"
done | as_described
