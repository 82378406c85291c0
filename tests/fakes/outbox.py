"""An outbox in memory, filled by the job store of ``tests.fakes.jobs``."""

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from reportd.core.jobs.job import Job
from reportd.core.pages.network import url_target
from reportd.ports import Callback, CallbackStatus, DeliveryOutcome, Record
from tests.fakes.clock import now
from tests.fakes.weather import Weather

MAX_ERROR = 500


@dataclass
class Entry:
    """What there is to tell, or was."""

    callback: Callback
    due_at: float
    claimed: bool = False
    outcome: DeliveryOutcome | None = None


def state_of(record: Record) -> bytes:
    return record.state.encode()


class MemoryOutbox:
    """Implements ``ports.Outbox``. ``entries`` has every one there ever was, the oldest first."""

    def __init__(
        self,
        weather: Weather | None = None,
        *,
        compose: Callable[[Record], bytes] = state_of,
        defaults: Mapping[str, str] | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        self.entries: list[Entry] = []
        self._weather = weather or Weather()
        self._compose = compose
        self._defaults = defaults or {}
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []

    def reconfigure(self, urls: Mapping[str, str]) -> None:
        self._defaults = urls

    def enter(self, record: Record, at: float) -> None:
        """The job has ended."""
        job = record.job
        if url := self._url_for(job):
            try:
                host = "{}:{}".format(*url_target(url))
            except ValueError:
                host = ""
            name = f"callback-{len(self.entries) + 1}"
            callback = Callback(name, job.task_id, url, host, self._compose(record), 0, at, "")
            self.entries.append(Entry(callback, self._clock()))
            for listener in self._listeners:
                listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    async def claim(
        self, limit: int, lease_seconds: float, skip: Collection[str] = ()
    ) -> tuple[list[Callback], float | None]:
        async with self._weather.call("outbox", "claim"):
            waiting = [e for e in self.entries if e.outcome is None and e.callback.host not in skip]
            if not waiting:
                return [], None
            at = self._clock()
            first = min(entry.due_at for entry in waiting)
            due = sorted((entry for entry in waiting if entry.due_at <= at), key=lambda entry: entry.due_at)
            for entry in due[:limit]:
                attempts, token = entry.callback.attempts + 1, secrets.token_hex(16)
                entry.callback = replace(entry.callback, attempts=attempts, token=token)
                entry.due_at, entry.claimed = at + lease_seconds, True
            return [entry.callback for entry in due[:limit]], max(0.0, first - at)

    async def settle(
        self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float = 0.0
    ) -> bool:
        async with self._weather.call("outbox", "settle"):
            for entry in self.entries:
                mine = entry.callback.callback_id == callback.callback_id and entry.callback.token == callback.token
                if mine and entry.claimed:
                    entry.callback = replace(entry.callback, error=error[:MAX_ERROR])
                    entry.claimed, entry.outcome = False, outcome
                    entry.due_at = math.inf if outcome else self._clock() + delay_seconds
                    return True
            return False

    async def status(self, job: Job) -> CallbackStatus | None:
        if not self._url_for(job):
            return None
        async with self._weather.call("outbox", "status"):
            for entry in reversed(self.entries):
                if entry.callback.task_id == job.task_id:
                    next_at = None if entry.claimed or entry.outcome else entry.due_at
                    return CallbackStatus(entry.outcome, entry.callback.attempts, next_at, entry.callback.error)
            return None

    def _url_for(self, job: Job) -> str | None:
        return job.callback_url or self._defaults.get(job.report_type)
