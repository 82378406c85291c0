"""Sends the callbacks of finished jobs: claims those that are due from the outbox, sends them, and retries.

Any number of nodes may do so at once. Each callback is sent at least once, always with the same id.
"""

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import structlog
import trio

from reportd.concurrency.grace import with_grace
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.concurrency.signal import Signal
from reportd.concurrency.supervisor import Supervisor
from reportd.core.jobs.retry import RetryPolicy, backoff
from reportd.ports import (
    NULL_METER,
    Callback,
    DeliveryError,
    DeliveryOutcome,
    Messenger,
    Meter,
    Outbox,
    UnavailableError,
)

AT_ONCE = 32
"""How many callbacks this node sends at a time."""

AT_ONCE_PER_HOST = 8
"""The limit per host, so that a receiver that hangs does not delay the others. It is also the size of a claimed batch,
so a host may have nearly twice as many.
"""

TIMEOUT_SECONDS = 15.0
"""For one attempt, including the DNS lookup. Standard Webhooks advise 15 to 30 s."""

LEASE_SECONDS = 60.0
"""Longer than an attempt with the steps around it. After that, other nodes may claim the callbacks of a dead node."""

POLL_SECONDS = 10.0
"""How often the outbox is polled for the callbacks of other nodes. A node knows when its own callbacks are due."""

RETRY_SECONDS = 2.0
"""The pause when the outbox is unavailable."""

SETTLE_SECONDS = 2.0
"""How long claiming a callback, or recording its outcome, may take while the daemon stops."""

RETRIES = RetryPolicy(backoff_seconds=2.0, max_backoff_seconds=900.0)

log = structlog.get_logger()


class Notifier:
    """``run`` sends callbacks until it is cancelled. Callbacks that are being sent then go back to the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        messenger: Messenger,
        *,
        retry_seconds: float,
        meter: Meter = NULL_METER,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._messenger = messenger
        self._retry_seconds = retry_seconds
        self._meter = meter
        self._supervisor = supervisor or Supervisor()
        self._clock = clock
        self._chance = chance
        self._sending: Counter[str] = Counter()
        self._changed = Signal()
        outbox.subscribe(self._changed.notify)

    async def run(self) -> None:
        # Callbacks that are being sent go on when claiming fails.
        async with trio.open_nursery() as nursery:
            await self._supervisor.keep("notifier", partial(self._claim_all, nursery))

    async def _claim_all(self, nursery: trio.Nursery) -> None:
        while True:
            changed = self._changed.next()
            try:
                seconds = await self._claim(nursery)
            except UnavailableError as error:
                log.warning("notifier.waits", part=error.part, error=str(error))
                seconds = RETRY_SECONDS
            with trio.move_on_after(seconds):
                await changed.wait()

    async def _claim(self, nursery: trio.Nursery) -> float:
        """Claim due callbacks within the limits, and start to send them. Return the seconds until the next claim."""
        full_hosts = [host for host, number in self._sending.items() if number >= AT_ONCE_PER_HOST]
        limit = min(AT_ONCE - self._sending.total(), AT_ONCE_PER_HOST)
        if not limit:
            return POLL_SECONDS
        # A claim that is cut off would leave its callbacks waiting until their lease ends.
        callbacks, seconds = await with_grace(
            lambda: self._outbox.claim(limit, LEASE_SECONDS, full_hosts), SETTLE_SECONDS
        )
        for callback in callbacks:
            self._sending[callback.host] += 1
            nursery.start_soon(self._send, callback)
        if callbacks:
            return 0.0
        # With 0 seconds, a callback is due, but another node is claiming it.
        return min(seconds or RETRY_SECONDS, POLL_SECONDS) if seconds is not None else POLL_SECONDS

    async def _send(self, callback: Callback) -> None:
        outcome, error, delay = None, callback.error, 0.0  # used if the attempt is cut off
        try:
            outcome, error, delay = await self._attempt(callback)
        finally:
            # If this fails, the callback is sent again when its lease has ended, with the same id.
            with trio.move_on_after(SETTLE_SECONDS, shield=True):
                await self._settle(callback, outcome, error, delay)
            self._sending[callback.host] -= 1
            self._sending += Counter()  # removes the hosts at 0
            self._changed.notify()

    async def _settle(self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay: float) -> None:
        try:
            await retry_while_unavailable(lambda: self._outbox.settle(callback, outcome, error, delay))
            self._report(callback, outcome, error, delay)
        except Exception:
            # An unexpected error with one callback must not affect the others.
            log.exception("callback.not_settled", taskId=callback.task_id)

    async def _attempt(self, callback: Callback) -> tuple[DeliveryOutcome | None, str, float]:
        """Send the callback. Return the outcome, the error, and the seconds until the next attempt.

        Without an outcome, the callback is tried again.
        """
        try:
            with trio.fail_after(TIMEOUT_SECONDS):
                await self._messenger.deliver(callback)
        except trio.TooSlowError:
            error = f"no answer within {TIMEOUT_SECONDS:g} s"
        except DeliveryError as problem:
            if problem.final:
                return DeliveryOutcome.REFUSED, str(problem), 0.0
            error = str(problem)
        except Exception as problem:  # noqa: BLE001 - one callback must not end the daemon; its text may hold the URL
            log.error("callback.internal", taskId=callback.task_id, kind=type(problem).__name__)  # noqa: TRY400
            error = "it could not be sent"
        else:
            return DeliveryOutcome.DELIVERED, "", 0.0
        delay = backoff(callback.attempts, RETRIES, self._chance())
        too_late = self._clock() + delay > callback.created_at + self._retry_seconds
        return (DeliveryOutcome.FAILED, error, 0.0) if too_late else (None, error, delay)

    def _report(self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float) -> None:
        self._meter.callback(outcome or "put_back")
        bound = log.bind(taskId=callback.task_id, callback=callback.callback_id, host=callback.host)
        if outcome is DeliveryOutcome.DELIVERED:
            bound.info("callback.delivered", attempts=callback.attempts)
        elif outcome is not None:
            bound.error("callback.given_up", outcome=outcome, error=error, attempts=callback.attempts)
        else:
            bound.warning("callback.put_back", error=error, retryInSeconds=round(delay_seconds, 1))
