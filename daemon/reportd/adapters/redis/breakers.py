"""The breakers of all nodes that share one Redis. Times are the server's, so the nodes' clocks don't matter.

Each report type has a key: its version, a space, and the breaker as JSON. Redis need not persist them: the nodes
restore what it loses. The keys of a namespace are one group, so that a cluster keeps them in one hash slot, where one
script can read them all.
"""

import re
from collections.abc import Collection
from dataclasses import replace

from reportd.adapters.redis.breaker_json import from_json, to_json
from reportd.adapters.redis.connection import Redis
from reportd.core.breaker.breaker import Breaker
from reportd.ports import StoredBreakers

KEEP_SECONDS = 86400
"""A breaker that no node writes expires this long after its wait."""

_CHECK_NAME = ".doctor"
"""No report type has this name."""

_CHECK_SECONDS = 2

_LOAD = """
return {redis.call('TIME'), #KEYS > 0 and redis.call('MGET', unpack(KEYS)) or {}}
"""

_REPLACE = """
local version = string.match(redis.call('GET', KEYS[1]) or '', '^%d+') or '0'
if version ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class RedisBreakers:
    """Fleets that share a Redis but not their breakers need different namespaces."""

    def __init__(self, redis: Redis, namespace: str = "reportd") -> None:
        self._redis = redis
        self._group = f"{namespace}:breaker"

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        (seconds, microseconds), texts = await self._redis.run(_LOAD, self._group, list(report_types))
        at = int(seconds) + int(microseconds) / 1e6
        stored = zip(report_types, texts, strict=True)
        return StoredBreakers(at, {name: _read(name, text) for name, text in stored if text is not None})

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:
        keep_seconds = KEEP_SECONDS + max(0, int(max(breaker.until, breaker.lease_until) - breaker.since))
        text = f"{breaker.version} {to_json(breaker)}"
        names = [breaker.report_type]
        return bool(await self._redis.run(_REPLACE, self._group, names, version, text, keep_seconds, confirmed=durable))

    async def check(self) -> None:
        """Run each command once. Raises UnavailableError with what to do."""
        _, (text,) = await self._redis.run(_LOAD, self._group, [_CHECK_NAME])
        version = 0 if text is None else 1
        await self._redis.run(_REPLACE, self._group, [_CHECK_NAME], version, "1", _CHECK_SECONDS, confirmed=True)


def _read(report_type: str, text: bytes) -> Breaker:
    """Parse a breaker. An unreadable one, perhaps of a newer daemon, becomes a closed breaker until the next write."""
    version = re.match(b"[0-9]*", text)[0]  # type: ignore[index]  # it always matches
    try:
        breaker = from_json(text.removeprefix(version).decode())
    except ValueError:
        breaker = Breaker(report_type)
    return replace(breaker, report_type=report_type, version=int(version or 0))
