"""Tells people of trouble: each cause once a window, on every channel, and that it is over.

``tell`` may be called from anywhere in the daemon and waits for nothing. All nodes share what has been told; each
channel goes at its own pace, so that a dead one holds up nobody.
"""

import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from operator import itemgetter

import structlog
import trio

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.concurrency.signal import Signal
from reportd.concurrency.supervisor import Supervisor
from reportd.core.alerts.incidents import (
    LEASE_SECONDS,
    Alarm,
    Incident,
    Kind,
    Notice,
    claimed,
    happened,
    not_told,
    notice,
    told,
)
from reportd.core.breaker.breaker import BreakerState, Transition
from reportd.core.jobs.retry import RetryPolicy, backoff
from reportd.ports import SILENT, AlertStore, Channel, DeadLetter, DeliveryError, Meter, UnavailableError

MAX_CAUSES = 1000
"""How many causes may wait to be written down; what comes beyond that is only counted."""

TIMEOUT_SECONDS = 15.0
"""For one attempt to tell."""

LOOK_AGAIN_SECONDS = 10.0
"""A node knows of what it writes down itself, and when the next thing is due; this is for what the others left."""

TROUBLE_SECONDS = 2.0
"""The pause when the store can't be reached."""

BATCH = 20
RETRIES = RetryPolicy(backoff_seconds=2.0, max_backoff_seconds=300.0)

_OPEN = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN})

log = structlog.get_logger()


@dataclass(slots=True)
class _Unwritten:
    """What was told of a cause since it was last written down. An end that something came after was none."""

    raised: Alarm | None = None
    over: Alarm | None = None

    def add(self, alarm: Alarm) -> None:
        if alarm.over:
            self.over = alarm
            return
        if self.raised:
            alarm = replace(alarm, count=self.raised.count + alarm.count, at=self.raised.at, until=alarm.at)
        self.raised, self.over = alarm, None

    def applied(self, incident: Incident | None, window: float) -> Incident | None:
        for alarm in (self.raised, self.over):
            if alarm:
                incident = happened(incident, alarm, window)
        return incident


class Alerts:
    """Without channels it does nothing. ``dropped``: alarms of which only this count is left."""

    def __init__(
        self,
        store: AlertStore,
        channels: Sequence[Channel],
        *,
        window_seconds: float,
        meter: Meter = SILENT,
        supervisor: Supervisor | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.dropped = 0
        self._store = store
        self._channels = channels
        self._window = window_seconds
        self._meter = meter
        self._supervisor = supervisor or Supervisor()
        self._chance = chance
        self._unwritten: dict[str, _Unwritten] = {}
        self._alarmed = Signal()
        self._written = Signal()

    def tell(self, alarm: Alarm) -> None:
        """Costs next to nothing: those of one cause are counted together until they are written down."""
        if not self._channels:
            return
        if alarm.key not in self._unwritten and len(self._unwritten) >= MAX_CAUSES:
            self.dropped += alarm.count
            self._meter.alert("none", "dropped")
            return
        self._unwritten.setdefault(alarm.key, _Unwritten()).add(alarm)
        self._alarmed.notify()

    def breaker_moved(self, change: Transition) -> None:
        """Only from closed to open and back: that a probe has failed is no news."""
        over = change.target not in _OPEN
        if over != (change.source not in _OPEN):
            signature, name = f"breaker:{change.report_type}", change.report_type
            self.tell(Alarm(Kind.BREAKER_OPEN, signature, name, change.reason, change.at, over=over))

    def quarantined(self, letter: DeadLetter) -> None:
        """One alert for all letters of a cause."""
        self.tell(Alarm(Kind.QUARANTINED, letter.signature, letter.report_type, letter.detail, letter.last_seen_at))

    async def run(self) -> None:
        """Until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervisor.keep, "alerts", self._write_down)
            for channel in self._channels:
                nursery.start_soon(self._supervisor.keep, f"alerts.{channel.name}", partial(self._serve, channel))

    async def _write_down(self) -> None:
        reported = 0
        while True:
            while not self._unwritten:
                await self._alarmed.wait()
            unwritten, self._unwritten = self._unwritten, {}
            # In one order everywhere, so that nodes don't block each other.
            for channel, (key, what) in product(self._channels, sorted(unwritten.items(), key=itemgetter(0))):
                try:
                    await retry_while_unavailable(partial(self._write, channel.name, key, what))
                except Exception:
                    # One cause that nobody foresaw must not end the daemon, nor the word of the others.
                    log.exception("alerts.not_written")
            self._written.notify()
            if self.dropped > reported:
                log.error("alerts.dropped", count=self.dropped - reported)
                reported = self.dropped

    async def _write(self, channel: str, key: str, what: _Unwritten) -> None:
        await self._store.change(channel, key, lambda incident, _: what.applied(incident, self._window))

    # --- telling --------------------------------------------------------------------------------------------

    async def _serve(self, channel: Channel) -> None:
        while True:
            written = self._written.next()
            try:
                signatures, seconds = await self._store.due(channel.name, BATCH)
                for signature in signatures:
                    await self._tell(channel, signature)
                if signatures:
                    continue
            except UnavailableError as error:
                log.warning("alerts.wait", part=error.part, error=str(error))
                seconds = TROUBLE_SECONDS
            with trio.move_on_after(LOOK_AGAIN_SECONDS if seconds is None else min(seconds, LOOK_AGAIN_SECONDS)):
                await written.wait()

    async def _tell(self, channel: Channel, signature: str) -> None:
        token, window = secrets.token_hex(8), self._window
        incident = await self._store.change(
            channel.name, signature, lambda kept, now: claimed(kept, now, token, window)
        )
        if incident is None or incident.teller != token:
            return
        said = notice(signature, incident)
        error = await self._attempt(channel, said)
        delay = backoff(incident.attempts, RETRIES, self._chance())

        def settle(kept: Incident | None, now: float) -> Incident | None:
            return not_told(kept, token, now, delay, window) if error else told(kept, said, now, window)

        # If this fails, it is told again when the lease is over, with the same id.
        with trio.move_on_after(LEASE_SECONDS - TIMEOUT_SECONDS):
            await retry_while_unavailable(lambda: self._store.change(channel.name, signature, settle))
        bound = log.bind(channel=channel.name, signature=signature, recovered=said.recovered)
        if error:
            self._meter.alert(channel.name, "failed")
            bound.warning("alert.not_sent", error=error, retryInSeconds=round(delay, 1))
        else:
            self._meter.alert(channel.name, "sent")
            bound.info("alert.sent", count=incident.untold)

    async def _attempt(self, channel: Channel, said: Notice) -> str:
        """What went wrong; empty when nothing did."""
        try:
            with trio.fail_after(TIMEOUT_SECONDS):
                await channel.send(said)
        except trio.TooSlowError:
            return f"no answer within {TIMEOUT_SECONDS:g} s"
        except (DeliveryError, UnavailableError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - an alert must not end the daemon; its text may hold a secret
            return f"it could not be sent ({type(error).__name__})"
        return ""
