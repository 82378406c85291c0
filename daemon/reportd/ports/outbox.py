"""The outbox: callbacks about ended jobs, stored with the jobs until they are delivered."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reportd.core.jobs.job import Job


class DeliveryOutcome(StrEnum):
    """The final result of a callback."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """Its host is not allowed, or the receiver wants no more callbacks."""
    FAILED = "failed"
    """It could not be delivered within the retry time."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback that this node has claimed. ``attempts`` includes this one; ``error``: of the last attempt.

    ``callback_id`` is the same for all attempts. ``created_at``: when the job ended, in seconds since the epoch.
    URL and body must not be logged.
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
    """The state of a job's callback. ``outcome`` None: not final yet; ``next_at``: the next attempt."""

    outcome: DeliveryOutcome | None
    attempts: int
    next_at: float | None
    error: str


class Outbox(Protocol):
    """The callbacks to deliver. ``Jobs.settle`` adds an entry in the transaction that ends a job with a callback.

    Times are the store's. All calls raise UnavailableError.
    """

    async def claim(
        self, limit: int, lease_seconds: float, skip: Collection[str] = ()
    ) -> tuple[list[Callback], float | None]:
        """Claim due callbacks; also return in how many seconds the next one is due, None when none waits.

        A claimed callback is given to nobody else until it is settled or the lease ends. ``skip``: hosts to leave out.
        """
        ...

    async def settle(
        self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float = 0.0
    ) -> bool:
        """Record the outcome; None: due again after ``delay_seconds``. Return False when the claim had ended."""
        ...

    async def status(self, job: Job) -> CallbackStatus | None:
        """Return the status of the callback about the job's last end; None when there is none, or none yet."""
        ...

    def reconfigure(self, urls: Mapping[str, str]) -> None:
        """Set the default callback URLs by report type, for jobs that have none."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call the listener whenever this node adds an entry."""
        ...


class DeliveryError(Exception):
    """The delivery failed. ``final``: a retry can't help. The text holds neither the URL nor parts of the response."""

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.final = final


class Messenger(Protocol):
    """Delivers callbacks."""

    async def deliver(self, callback: Callback) -> None:
        """Deliver a callback. Raises DeliveryError. The caller owns the timeout."""
        ...
