"""Redis, through coredis on trio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reportd.adapters.redis.breakers import RedisBreakers
from reportd.adapters.redis.connection import open_redis

__all__ = ["RedisBreakers", "open_breakers", "open_redis"]


@asynccontextmanager
async def open_breakers(url: str, namespace: str = "reportd") -> AsyncIterator[RedisBreakers]:
    """The breakers kept in the Redis at that URL."""
    async with open_redis(url) as redis:
        yield RedisBreakers(redis, namespace)
