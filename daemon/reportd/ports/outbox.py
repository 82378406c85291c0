"""The outbox: what has to be told to whoever asked for a report, kept with the jobs until it has been told."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reportd.core.jobs.job import Job


class DeliveryOutcome(StrEnum):
    """What became of a callback in the end."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """It may not be sent there, or the receiver wants no more of them."""
    FAILED = "failed"
    """It could not be delivered in all the time there was."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One that this node has claimed. ``attempts`` includes this one; ``error`` is what the last one met.

    ``callback_id`` is the same however often it is sent. ``created_at``: when the job ended, in seconds since the
    epoch. Neither URL nor body may be logged.
    """

    callback_id: str
    task_id: str
    url: str = field(repr=False)
    host: str
    body: bytes = field(repr=False)
    attempts: int
    created_at: float
    token: str = field(repr=False)
    error: str = ""


@dataclass(frozen=True, slots=True)
class CallbackStatus:
    """How far a job's callback has come. ``outcome`` None: not told yet; ``next_at``: when it is tried again."""

    outcome: DeliveryOutcome | None
    attempts: int
    next_at: float | None
    error: str


class Outbox(Protocol):
    """A job that reaches a terminal state and has a callback gets an entry in the very transaction of ``settle``.

    Times are the store's. All calls raise UnavailableError.
    """

    async def claim(
        self, limit: int, lease_seconds: float, skip: Collection[str] = ()
    ) -> tuple[list[Callback], float | None]:
        """Those that are due, and in how many seconds another one is; None when nothing waits.

        Nobody else is given a claimed one until it is settled or the lease is over. ``skip``: hosts to leave out.
        """
        ...

    async def settle(
        self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float = 0.0
    ) -> bool:
        """Say what became of it; None: it is due again after ``delay_seconds``. False: the claim was over."""
        ...

    async def status(self, job: Job) -> CallbackStatus | None:
        """Of the job's last end; None when it has no callback, or none yet."""
        ...

    def reconfigure(self, urls: Mapping[str, str]) -> None:
        """Use these callback URLs, by name of the report type, for jobs that name none."""
        ...

    def watch(self, listener: Callable[[], None]) -> None:
        """Call it whenever an entry has come in through this node."""
        ...


class DeliveryError(Exception):
    """It was not delivered. ``final``: trying again is in vain. The text holds no URL and nothing of the answer."""

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.final = final


class Messenger(Protocol):
    """Brings a callback to its receiver."""

    async def deliver(self, callback: Callback) -> None:
        """Raises DeliveryError. The caller owns the timeout."""
        ...
