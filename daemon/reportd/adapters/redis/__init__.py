"""Circuit breakers in Redis, through coredis on trio. ``app`` opens them, ``cli`` checks them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reportd.adapters.redis.breakers import RedisBreakers
from reportd.adapters.redis.connection import open_redis
from reportd.ports import UnavailableError

__all__ = ["RedisBreakers", "check", "open_breakers", "open_redis"]


@asynccontextmanager
async def open_breakers(url: str, namespace: str = "reportd") -> AsyncIterator[RedisBreakers]:
    """Yield the breakers in the Redis at ``url``."""
    async with open_redis(url) as redis:
        yield RedisBreakers(redis, namespace)


async def check(url: str, namespace: str) -> list[str]:
    """Return what keeps the daemon from sharing its breakers there, with what to do about it; empty if all is well."""
    try:
        async with open_breakers(url, namespace) as breakers:
            await breakers.check()
    except UnavailableError as error:
        return [str(error)]
    return []
