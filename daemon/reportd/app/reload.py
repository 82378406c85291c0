"""On SIGHUP, reads again what can change while the daemon runs: report types, tokens, keys, the level of the log.

If a file is faulty, its previous contents stay in force, and the log and systemd's status line say so. Configuration
and tokens are checked separately: a mistake in one file must not keep a token valid that the other no longer has.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
import trio

from reportd.app.checks import Checks
from reportd.concurrency.supervisor import Supervisor, error_text
from reportd.config import Config, ConfigError, Loaded
from reportd.config.section import Section
from reportd.intake.catalogue import Catalogue
from reportd.intake.tokens import Tokens, TokensFileError
from reportd.ports import BrowserError, UnavailableError
from reportd.system import sd_notify

READ_SECONDS = 20.0
"""The time limit for reading the files."""

T = TypeVar("T")

log = structlog.get_logger()


class SlowError(Exception):
    """The file system does not answer."""


@dataclass(frozen=True, slots=True)
class ReloadRequests:
    """What the command line hands to the daemon for reloads.

    ``given`` receives an item for each SIGHUP; several may be merged. ``read`` reads the configuration, and raises
    ConfigError. ``set_level`` is the log's.
    """

    given: trio.MemoryReceiveChannel[None]
    read: Callable[[], Loaded]
    set_level: Callable[[str], None]


class Reload:
    """``trouble``: what the last reload could not do; empty if all files are in force.

    ``config``: in force when the daemon started. ``reconfigure`` puts the rest in force.
    """

    def __init__(
        self,
        requests: ReloadRequests,
        config: Config,
        types: Catalogue,
        checks: Checks,
        tokens: Tokens,
        reconfigure: Callable[[Config], None],
        supervisor: Supervisor,
    ) -> None:
        self.trouble = ""
        self._requests = requests
        self._config = config
        self._types = types
        self._checks = checks
        self._tokens = tokens
        self._reconfigure = reconfigure
        self._supervisor = supervisor
        self._later: list[str] = []
        self._tokens_reader, self._config_reader = trio.CapacityLimiter(1), trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Serve requests for as long as the daemon runs."""
        async for _ in self._requests.given:
            # systemd waits for READY; the time shows it that this reload began after its request.
            sd_notify.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            await self.reload()
            sd_notify.notify("READY=1")

    async def reload(self) -> None:
        troubles = [text for text in (await self._reload_tokens(), await self._reload_config()) if text]
        if troubles:
            self._supervisor.failed("reload", "; ".join(troubles))
        else:
            self._supervisor.recovered("reload")
        if self._later:
            troubles.append(f"need a restart: {', '.join(self._later)}")
        self.trouble = "; ".join(troubles)

    async def _reload_tokens(self) -> str:
        """Read the tokens. Return why the previous ones stay in force, or an empty text."""
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
        return "the previous tokens stay in force"

    async def _reload_config(self) -> str:
        """Read the configuration. Return why the previous one stays in force, or an empty text."""
        try:
            self._later = await self._read()
        except (ConfigError, BrowserError, UnavailableError, SlowError) as error:
            why = str(error)
            log.error("config.kept", error=why)  # noqa: TRY400 - what is wrong is in the file, not here
        except Exception as error:
            why = error_text(error)
            log.exception("config.kept")
        else:
            log.info("config.read", reportTypes=list(self._types.names), level=self._config.log.level)
            if self._later:
                log.warning("config.needs_restart", keys=self._later)
            return ""
        first, *others = why.splitlines()
        more = f" (and {len(others)} more, which the log has)" if others else ""
        return f"the previous configuration stays in force: {first}{more}"

    async def _in_thread(self, read: Callable[[], T], reader: trio.CapacityLimiter) -> T:
        """Return the result of ``read``. Raises SlowError after READ_SECONDS, and what ``read`` raises.

        A file system that hangs costs at most one thread for each file. It delays no shutdown and no later reload.
        """
        with trio.move_on_after(READ_SECONDS):
            return await trio.to_thread.run_sync(read, limiter=reader, abandon_on_cancel=True)
        raise SlowError(f"the files could not be read within {READ_SECONDS:g} s")

    async def _read(self) -> list[str]:
        """Put the file's report types and log level in force. Return the changed keys that need a restart.

        Raises ConfigError, BrowserError, UnavailableError or SlowError.
        """
        loaded = await self._in_thread(self._requests.read, self._config_reader)
        config = loaded.config
        # The other sections stay as they were when the parts that use them were made.
        changeable = {"reports": config.reports, "render_tokens": config.render_tokens, "log": config.log}
        now = self._config.model_copy(update=changeable)
        isolation = {"isolation": self._config.pool.isolation}
        read = config.model_copy(update={"pool": config.pool.model_copy(update=isolation)})
        draft = await self._in_thread(partial(self._checks.read, read), self._config_reader)
        if config.auth.path(config.data_dir) == self._config.auth.path(self._config.data_dir):
            # The tokens have been checked separately.
            draft.problems = [problem for problem in draft.problems if problem.key != "auth.tokens_file"]
        for key in _fixed(self._config, now):
            draft.fault(key, "needs a restart to change")
        checked = await self._checks.judge(loaded, draft, known=self._config)
        if checked.unchecked:
            raise BrowserError(checked.unchecked)
        self._types.exchange(checked.types)
        self._requests.set_level(now.log.level)
        self._reconfigure(now)
        self._config = now
        return list(_changed(now, config))


def _fixed(before: Config, after: Config) -> list[str]:
    """Return the changed keys of report types that need a restart.

    Queues are opened at the start. Containers are tried at the start, if a report type wants one.
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
    """Yield the dotted keys that differ."""
    for name, before in one:
        after = getattr(other, name)
        if not isinstance(before, Section):
            if before != after:
                yield name
            continue
        for key, value in before:
            if value != getattr(after, key):
                yield f"{name}.{key}"
