"""Redis, through coredis on trio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reportd.adapters.redis.breakers import RedisBreakers
from reportd.adapters.redis.connection import open_redis
from reportd.ports import UnavailableError

__all__ = ["RedisBreakers", "check", "open_breakers", "open_redis"]


@asynccontextmanager
async def open_breakers(url: str, namespace: str = "reportd") -> AsyncIterator[RedisBreakers]:
    """The breakers kept in the Redis at that URL."""
    async with open_redis(url) as redis:
        yield RedisBreakers(redis, namespace)


async def check(url: str, namespace: str) -> list[str]:
    """What keeps the daemon from sharing its breakers there, with what to do about it; nothing when all is well."""
    try:
        async with open_breakers(url, namespace) as breakers:
            await breakers.check()
    except UnavailableError as error:
        return [str(error)]
    return []
