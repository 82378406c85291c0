"""SIGHUP: reads again what can change while the daemon runs: report types, the file of tokens, the log's level.

What is wrong with a file leaves in force what it said before, which the log and systemd's status line tell. The
configuration and the tokens are two files, and judged each by itself: a typing mistake in the one must not keep a token
alive that was taken out of the other.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
import trio

from reportd.app.checks import Checks
from reportd.concurrency.supervisor import Supervisor, in_words
from reportd.config import Config, ConfigError, Loaded
from reportd.config.section import Section
from reportd.intake.catalogue import Catalogue
from reportd.intake.tokens import Tokens, TokensFileError
from reportd.ports import BrowserError, UnavailableError
from reportd.system import sd_notify

READ_SECONDS = 20.0
"""How long a file system may take to give the files."""

T = TypeVar("T")

log = structlog.get_logger()


class SlowError(Exception):
    """A file system does not answer."""


@dataclass(frozen=True, slots=True)
class ReloadRequests:
    """What the command line gives the daemon for it.

    ``given`` brings one for each SIGHUP, of which several may be one. ``read`` reads the configuration, and raises
    ConfigError. ``set_level`` is the log's.
    """

    given: trio.MemoryReceiveChannel[None]
    read: Callable[[], Loaded]
    set_level: Callable[[str], None]


class Reload:
    """``trouble``: what the last one could not do; empty when all is as the files say.

    ``config``: in force when the daemon started. ``reconfigure`` puts the report types in force.
    """

    def __init__(
        self,
        orders: ReloadRequests,
        config: Config,
        types: Catalogue,
        checks: Checks,
        tokens: Tokens,
        reconfigure: Callable[[Config], None],
        supervisor: Supervisor,
    ) -> None:
        self.trouble = ""
        self._orders = orders
        self._config = config
        self._types = types
        self._checks = checks
        self._tokens = tokens
        self._reconfigure = reconfigure
        self._supervisor = supervisor
        self._later: list[str] = []
        self._tokens_reader, self._config_reader = trio.CapacityLimiter(1), trio.CapacityLimiter(1)

    async def run(self) -> None:
        """For as long as the daemon runs."""
        async for _ in self._orders.given:
            # systemd waits until it hears READY again; the time tells it that this is later than its order.
            sd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            await self.again()
            sd_notify.notify("READY=1")

    async def again(self) -> None:
        troubles = [text for text in (await self._again_tokens(), await self._again_config()) if text]
        if troubles:
            self._supervisor.failed("reload", "; ".join(troubles))
        else:
            self._supervisor.recovered("reload")
        if self._later:
            troubles.append(f"waits for a restart: {', '.join(self._later)}")
        self.trouble = "; ".join(troubles)

    async def _again_tokens(self) -> str:
        """Why those of before stay; empty when they don't."""
        try:
            tokens = await self._in_thread(self._tokens.read, self._tokens_reader)
        except (TokensFileError, SlowError) as error:
            log.error("tokens.kept", error=str(error))  # noqa: TRY400 - what is wrong is in the file, not here
        except Exception:
            log.exception("tokens.kept")
        else:
            self._tokens.exchange(tokens)
            log.info("tokens.read", count=len(tokens))
            return ""
        return "the tokens are those of before"

    async def _again_config(self) -> str:
        """The same of the configuration."""
        try:
            self._later = await self._read()
        except (ConfigError, BrowserError, UnavailableError, SlowError) as error:
            why = str(error)
            log.error("config.kept", error=why)  # noqa: TRY400 - what is wrong is in the file, not here
        except Exception as error:
            why = in_words(error)
            log.exception("config.kept")
        else:
            log.info("config.read", reportTypes=list(self._types.names), level=self._config.log.level)
            if self._later:
                log.warning("config.needs_restart", keys=self._later)
            return ""
        first, *others = why.splitlines()
        more = f" (and {len(others)} more, which the log has)" if others else ""
        return f"the configuration is that of before: {first}{more}"

    async def _in_thread(self, read: Callable[[], T], reader: trio.CapacityLimiter) -> T:
        """What ``read`` returns. A file system that does not answer must hold up neither the daemon's end nor, for
        longer than READ_SECONDS, the next reload; and of each file no more than one thread waits for it.

        Raises SlowError, and what ``read`` raises.
        """
        with trio.move_on_after(READ_SECONDS):
            return await trio.to_thread.run_sync(read, limiter=reader, abandon_on_cancel=True)
        raise SlowError(f"the files could not be read within {READ_SECONDS:g} s")

    async def _read(self) -> list[str]:
        """Put in force what the file says; the keys that only a restart can. Raises ConfigError, BrowserError,
        UnavailableError or SlowError.
        """
        loaded = await self._in_thread(self._orders.read, self._config_reader)
        config = loaded.config
        # The rest is as it was when the parts that use it were made.
        now = self._config.model_copy(update={"reports": config.reports, "log": config.log})
        isolation = {"isolation": self._config.pool.isolation}
        read = config.model_copy(update={"pool": config.pool.model_copy(update=isolation)})
        draft = await self._in_thread(partial(self._checks.read, read), self._config_reader)
        if config.auth.path(config.data_dir) == self._config.auth.path(self._config.data_dir):
            # It has been judged by itself.
            draft.problems = [problem for problem in draft.problems if problem.key != "auth.tokens_file"]
        for key in _fixed(self._config, now):
            draft.fault(key, "can only change so with a restart")
        checked = await self._checks.judge(loaded, draft, known=self._config)
        if checked.unchecked:
            raise BrowserError(checked.unchecked)
        self._types.exchange(checked.edition)
        self._orders.set_level(now.log.level)
        self._reconfigure(now)
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
