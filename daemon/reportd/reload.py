"""SIGHUP: reads again what can change while the daemon runs: report types, the file of tokens, the log's level.

What is wrong with a file leaves in force what it said before, which the log and systemd's status line tell. The
configuration and the tokens are two files, and judged each by itself: a typing mistake in the one must not keep a token
alive that was taken out of the other.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
import trio

from reportd import systemd
from reportd.catalogue import Catalogue, CatalogueError
from reportd.config import Config, ConfigError
from reportd.config.section import Section
from reportd.tokens import Tokens

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Orders:
    """What the command line gives the daemon for it.

    ``given`` brings one for each SIGHUP, of which several may be one. ``read`` reads the configuration, and raises
    ConfigError. ``set_level`` is the log's.
    """

    given: trio.MemoryReceiveChannel[None]
    read: Callable[[], Config]
    set_level: Callable[[str], None]


class Reload:
    """``trouble``: what the last one could not do; empty when all is as the files say.

    ``config``: in force when the daemon started. ``learn`` hears of the report types that are in force now.
    """

    def __init__(
        self, orders: Orders, config: Config, types: Catalogue, tokens: Tokens, learn: Callable[[Config], None]
    ) -> None:
        self.trouble = ""
        self._orders = orders
        self._config = config
        self._types = types
        self._tokens = tokens
        self._learn = learn

    async def run(self) -> None:
        """For as long as the daemon runs."""
        async for _ in self._orders.given:
            # systemd waits until it hears READY again; the time tells it that this is later than its order.
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            await self.again()
            systemd.notify("READY=1")

    async def again(self) -> None:
        troubles = [] if await trio.to_thread.run_sync(self._tokens.reload) else ["the tokens are those of before"]
        try:
            later = await self._read()
        except (ConfigError, CatalogueError) as error:
            log.error("config.kept", error=str(error))  # noqa: TRY400 - what is wrong is in the file, not here
            troubles.append(f"the configuration is that of before: {str(error).splitlines()[0]}")
        else:
            log.info("config.read", reportTypes=list(self._types.names), level=self._config.log.level)
            if later:
                log.warning("config.needs_restart", keys=later)
                troubles.append(f"waits for a restart: {', '.join(later)}")
        self.trouble = "; ".join(troubles)

    async def _read(self) -> list[str]:
        """Put in force what the file says; the keys that only a restart can. Raises ConfigError or CatalogueError."""
        config = await trio.to_thread.run_sync(self._orders.read)
        # The rest is as it was when the parts that use it were made.
        now = self._config.model_copy(update={"reports": config.reports, "log": config.log})
        if keys := _fixed(self._config, now):
            raise CatalogueError(f"{', '.join(keys)}: can only change so with a restart")
        edition = await trio.to_thread.run_sync(self._types.edition, now)
        self._types.exchange(edition)
        self._orders.set_level(now.log.level)
        self._learn(now)
        self._config = now
        return list(_changed(now, config))


def _fixed(before: Config, after: Config) -> list[str]:
    """The keys of report types that can't become what they shall be: queues were opened when the daemon started, and
    whether the machine can make containers was tried if one was wanted.
    """
    was, wanted = _queues(before), _queues(after)
    keys = [f"reports.{name}.queue_url" for name in sorted(was.keys() | wanted) if was.get(name) != wanted.get(name)]
    if before.pool.isolation != "container" and not _contained(before):
        keys += [f"reports.{name}.isolation" for name in _contained(after)]
    return keys


def _queues(config: Config) -> dict[str, str]:
    return {name: report.queue_url for name, report in config.reports.items() if report.queue_url}


def _contained(config: Config) -> list[str]:
    return [name for name, report in config.reports.items() if report.isolation == "container"]


def _changed(one: Config, other: Config) -> Iterator[str]:
    """The keys that differ, dotted."""
    for name, before in one:
        after = getattr(other, name)
        if not isinstance(before, Section):
            if before != after:
                yield name
            continue
        for key, value in before:
            if value != getattr(after, key):
                yield f"{name}.{key}"
