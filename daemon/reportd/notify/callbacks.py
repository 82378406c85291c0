"""Brings word of finished jobs to whoever asked for them: takes what is due from the outbox, sends it, tries again.

Any number of nodes may do so at once. A callback is sent at least once, and always with the same id.
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
from reportd.ports import SILENT, Callback, DeliveryError, DeliveryOutcome, Messenger, Meter, Outbox, UnavailableError

AT_ONCE = 32
"""Callbacks that this node sends at a time."""

AT_ONCE_PER_HOST = 8
"""A receiver that hangs must not keep the others waiting. Taken in batches of so many, it may have twice as many."""

TIMEOUT_SECONDS = 15.0
"""For one attempt, from the resolution of its name on. Standard Webhooks advise 15 to 30 s."""

LEASE_SECONDS = 60.0
"""Longer than an attempt and what is around it. What a dead node had taken is then due for the others."""

LOOK_AGAIN_SECONDS = 10.0
"""A node is told of what it enters itself, and knows when the next one is due; this is for what the others left."""

TROUBLE_SECONDS = 2.0
"""The pause when the outbox can't be reached."""

SETTLE_SECONDS = 2.0
"""How long claiming a callback and recording its outcome may take while the daemon stops."""

RETRIES = RetryPolicy(backoff_seconds=2.0, max_backoff_seconds=900.0)

log = structlog.get_logger()


class Notifier:
    """``run`` sends until it is cancelled; what is on its way then goes back to the outbox."""

    def __init__(
        self,
        outbox: Outbox,
        messenger: Messenger,
        *,
        retry_seconds: float,
        meter: Meter = SILENT,
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
        self._under_way: Counter[str] = Counter()
        self._changed = Signal()
        outbox.watch(self._changed.notify)

    async def run(self) -> None:
        # What is being sent goes on, whatever becomes of the next look.
        async with trio.open_nursery() as nursery:
            await self._supervisor.keep("notifier", partial(self._take_all, nursery))

    async def _take_all(self, nursery: trio.Nursery) -> None:
        while True:
            changed = self._changed.next()
            try:
                seconds = await self._take(nursery)
            except UnavailableError as error:
                log.warning("notifier.waits", part=error.part, error=str(error))
                seconds = TROUBLE_SECONDS
            with trio.move_on_after(seconds):
                await changed.wait()

    async def _take(self, nursery: trio.Nursery) -> float:
        """Begin to send what is due and has a place; for how long there is nothing more to do."""
        full = [host for host, number in self._under_way.items() if number >= AT_ONCE_PER_HOST]
        places = min(AT_ONCE - self._under_way.total(), AT_ONCE_PER_HOST)
        if not places:
            return LOOK_AGAIN_SECONDS
        # What is claimed must reach us, or it would wait for the end of its lease.
        callbacks, seconds = await with_grace(lambda: self._outbox.claim(places, LEASE_SECONDS, full), SETTLE_SECONDS)
        for callback in callbacks:
            self._under_way[callback.host] += 1
            nursery.start_soon(self._send, callback)
        if callbacks:
            return 0.0
        # What is due and can't be had is in another node's hands.
        return min(seconds or TROUBLE_SECONDS, LOOK_AGAIN_SECONDS) if seconds is not None else LOOK_AGAIN_SECONDS

    async def _send(self, callback: Callback) -> None:
        outcome, error, delay = None, callback.error, 0.0  # if it is cut off
        try:
            outcome, error, delay = await self._attempt(callback)
        finally:
            # If this fails it is sent again when the lease is over, with the same id.
            with trio.move_on_after(SETTLE_SECONDS, shield=True):
                await self._settle(callback, outcome, error, delay)
            self._under_way[callback.host] -= 1
            self._under_way += Counter()  # drops those at 0
            self._changed.notify()

    async def _settle(self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay: float) -> None:
        try:
            await retry_while_unavailable(lambda: self._outbox.settle(callback, outcome, error, delay))
            self._tell(callback, outcome, error, delay)
        except Exception:
            # One entry that nobody foresaw is no matter of the others'.
            log.exception("callback.not_settled", taskId=callback.task_id)

    async def _attempt(self, callback: Callback) -> tuple[DeliveryOutcome | None, str, float]:
        """The outcome, the error and, where it is tried again, in how many seconds."""
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
        over = self._clock() + delay > callback.created_at + self._retry_seconds
        return (DeliveryOutcome.FAILED, error, 0.0) if over else (None, error, delay)

    def _tell(self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float) -> None:
        self._meter.callback(outcome or "put_back")
        told = log.bind(taskId=callback.task_id, callback=callback.callback_id, host=callback.host)
        if outcome is DeliveryOutcome.DELIVERED:
            told.info("callback.delivered", attempts=callback.attempts)
        elif outcome is not None:
            told.error("callback.given_up", outcome=outcome, error=error, attempts=callback.attempts)
        else:
            told.warning("callback.put_back", error=error, retryInSeconds=round(delay_seconds, 1))
