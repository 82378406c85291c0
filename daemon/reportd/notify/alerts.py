"""Alerts operators on every channel: once per cause and window, and once when the trouble is over.

``raise_alarm`` may be called from anywhere in the daemon, and never waits. The nodes share the state of the alerts.
Each channel has its own task, so that a dead channel delays no other.
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
    claim,
    mark_failed,
    mark_sent,
    notice_for,
    record_alarm,
)
from reportd.core.breaker.breaker import BreakerState, Transition
from reportd.core.jobs.retry import RetryPolicy, backoff
from reportd.ports import NULL_METER, AlertStore, Channel, DeadLetter, DeliveryError, Meter, UnavailableError

MAX_CAUSES = 1000
"""How many causes may wait to be stored. Alarms of more causes are only counted."""

TIMEOUT_SECONDS = 15.0
"""For one attempt to send an alert."""

POLL_SECONDS = 10.0
"""How often the store is polled for the alerts of other nodes. A node knows when its own alerts are due."""

RETRY_SECONDS = 2.0
"""The pause when the store is unavailable."""

BATCH = 20
RETRIES = RetryPolicy(backoff_seconds=2.0, max_backoff_seconds=300.0)

_OPEN = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN})

log = structlog.get_logger()


@dataclass(slots=True)
class _Unstored:
    """The alarms of a cause since it was last stored. A recovery that is followed by a new alarm is dropped."""

    raised: Alarm | None = None
    recovery: Alarm | None = None

    def add(self, alarm: Alarm) -> None:
        if alarm.over:
            self.recovery = alarm
            return
        if self.raised:
            alarm = replace(alarm, count=self.raised.count + alarm.count, at=self.raised.at, until=alarm.at)
        self.raised, self.recovery = alarm, None

    def applied(self, incident: Incident | None, window: float) -> Incident | None:
        for alarm in (self.raised, self.recovery):
            if alarm:
                incident = record_alarm(incident, alarm, window)
        return incident


class Alerts:
    """Without channels it does nothing. ``dropped``: how many alarms were only counted."""

    def __init__(
        self,
        store: AlertStore,
        channels: Sequence[Channel],
        *,
        window_seconds: float,
        meter: Meter = NULL_METER,
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
        self._unstored: dict[str, _Unstored] = {}
        self._alarmed = Signal()
        self._stored = Signal()

    def raise_alarm(self, alarm: Alarm) -> None:
        """Queue the alarm to be stored. This is cheap: alarms of one cause are merged until then."""
        if not self._channels:
            return
        if alarm.key not in self._unstored and len(self._unstored) >= MAX_CAUSES:
            self.dropped += alarm.count
            self._meter.alert("none", "dropped")
            return
        self._unstored.setdefault(alarm.key, _Unstored()).add(alarm)
        self._alarmed.notify()

    def breaker_moved(self, change: Transition) -> None:
        """Raise an alarm when a breaker opens, and report when it closes. A failed probe is neither."""
        over = change.target not in _OPEN
        if over != (change.source not in _OPEN):
            signature, name = f"breaker:{change.report_type}", change.report_type
            self.raise_alarm(Alarm(Kind.BREAKER_OPEN, signature, name, change.reason, change.at, over=over))

    def quarantined(self, letter: DeadLetter) -> None:
        """Raise an alarm for a quarantined letter. All letters of a cause share an alert."""
        alarm = Alarm(Kind.QUARANTINED, letter.signature, letter.report_type, letter.detail, letter.last_seen_at)
        self.raise_alarm(alarm)

    async def run(self) -> None:
        """Store and send alerts until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._supervisor.keep, "alerts", self._store_alarms)
            for channel in self._channels:
                nursery.start_soon(self._supervisor.keep, f"alerts.{channel.name}", partial(self._serve, channel))

    async def _store_alarms(self) -> None:
        reported = 0
        while True:
            while not self._unstored:
                await self._alarmed.wait()
            unstored, self._unstored = self._unstored, {}
            # All nodes use the same order, so that they don't block each other in the database.
            for channel, (key, alarms) in product(self._channels, sorted(unstored.items(), key=itemgetter(0))):
                try:
                    await retry_while_unavailable(partial(self._store_cause, channel.name, key, alarms))
                except Exception:
                    # An unexpected error with one cause must not end the daemon, nor the alerts of other causes.
                    log.exception("alerts.not_written")
            self._stored.notify()
            if self.dropped > reported:
                log.error("alerts.dropped", count=self.dropped - reported)
                reported = self.dropped

    async def _store_cause(self, channel: str, key: str, alarms: _Unstored) -> None:
        await self._store.change(channel, key, lambda incident, _: alarms.applied(incident, self._window))

    # --- sending --------------------------------------------------------------------------------------------

    async def _serve(self, channel: Channel) -> None:
        while True:
            stored = self._stored.next()
            try:
                signatures, seconds = await self._store.due(channel.name, BATCH)
                for signature in signatures:
                    await self._alert(channel, signature)
                if signatures:
                    continue
            except UnavailableError as error:
                log.warning("alerts.wait", part=error.part, error=str(error))
                seconds = RETRY_SECONDS
            with trio.move_on_after(POLL_SECONDS if seconds is None else min(seconds, POLL_SECONDS)):
                await stored.wait()

    async def _alert(self, channel: Channel, signature: str) -> None:
        """Claim an incident, send its alert, record the outcome."""
        token, window = secrets.token_hex(8), self._window
        incident = await self._store.change(
            channel.name, signature, lambda stored, now: claim(stored, now, token, window)
        )
        if incident is None or incident.teller != token:
            return
        alert = notice_for(signature, incident)
        error = await self._attempt(channel, alert)
        delay = backoff(incident.attempts, RETRIES, self._chance())

        def settle(stored: Incident | None, now: float) -> Incident | None:
            return mark_failed(stored, token, now, delay, window) if error else mark_sent(stored, alert, now, window)

        # If this fails, the alert is sent again when the lease has ended, with the same id.
        with trio.move_on_after(LEASE_SECONDS - TIMEOUT_SECONDS):
            await retry_while_unavailable(lambda: self._store.change(channel.name, signature, settle))
        bound = log.bind(channel=channel.name, signature=signature, recovered=alert.recovered)
        if error:
            self._meter.alert(channel.name, "failed")
            bound.warning("alert.not_sent", error=error, retryInSeconds=round(delay, 1))
        else:
            self._meter.alert(channel.name, "sent")
            bound.info("alert.sent", count=incident.untold)

    async def _attempt(self, channel: Channel, alert: Notice) -> str:
        """Send the alert. Return the error, empty on success."""
        try:
            with trio.fail_after(TIMEOUT_SECONDS):
                await channel.send(alert)
        except trio.TooSlowError:
            return f"no answer within {TIMEOUT_SECONDS:g} s"
        except (DeliveryError, UnavailableError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - an alert must not end the daemon; its text may hold a secret
            return f"it could not be sent ({type(error).__name__})"
        return ""
