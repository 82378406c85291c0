"""The circuit breakers as the worker, the poller and the operator see them.

``core.breaker`` decides; this module asks the store and caches its answer. A job of a healthy type needs no call to the
store: ``run`` refreshes the cache. While the store is unavailable, each node decides by its own cache, so there may be
one probe per node. As soon as the store is back, its state counts again.
"""

import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count, islice
from typing import TypeVar, cast

import structlog
import trio

from reportd.breakers.admission import Admission, DeferredError
from reportd.core.breaker.breaker import (
    Admit,
    Ask,
    Breaker,
    BreakerInput,
    BreakerPolicy,
    BreakerState,
    Command,
    Decision,
    Failure,
    Reject,
    Release,
    Success,
    Transition,
)
from reportd.core.breaker.decide import decide
from reportd.core.faults import FaultError
from reportd.ports import BreakerStore, StoredBreakers, UnavailableError

REFRESH_SECONDS = 0.5
"""How often the cache is refreshed, so that every node sees a change within a second."""

LEASE_MARGIN_SECONDS = 10.0
"""A probe's lease lasts longer than the timeout of its render, by the time for the steps around it."""

STORE_SECONDS = 3.0
"""The timeout of the store. A job waits for the store so long at most, even one that is cancelled."""

_PROBING = (BreakerState.OPEN, BreakerState.HALF_OPEN)

T = TypeVar("T")

log = structlog.get_logger()


class Breakers:
    """One per node. ``trouble``: why the store is unavailable, as a text for people, else empty.

    ``returns_per_second``: how many deferred messages of each type come again per second, so that they don't all come
    at once. ``listeners``: called for each transition that this node made; so each transition is reported on one node.
    ``on_change``: called when the answers of ``failing`` or ``probing`` may have changed, by this node or another.
    """

    def __init__(
        self,
        store: BreakerStore,
        policy: BreakerPolicy,
        *,
        node: str,
        report_types: Iterable[str] = (),
        returns_per_second: Callable[[], float] = lambda: 20.0,
        listeners: Iterable[Callable[[Transition], None]] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.trouble = ""
        self.on_change: Callable[[], None] = lambda: None
        self._store = store
        self._policy = policy
        self._node = node
        self._views = {name: _View(Breaker(name)) for name in report_types}
        self._returns_per_second = returns_per_second
        self._listeners = tuple(listeners)
        self._chance = chance
        self._tokens = map(f"{secrets.token_hex(8)}.{{}}".format, count())
        self._ahead = time.time() - trio.current_time()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Refresh the cache. Started when the store has been asked once, whether it answered or not."""
        await self._refresh()
        task_status.started()
        while True:
            await trio.sleep(REFRESH_SECONDS)
            await self._refresh()

    def reconfigure(self, report_types: Iterable[str]) -> None:
        """Use these report types. The store keeps the breakers of the other ones."""
        self._views = {name: self._view(name) for name in report_types}

    @asynccontextmanager
    async def admit(self, report_type: str, timeout_seconds: float) -> AsyncIterator[Admission]:
        """Enclose one render, which takes ``timeout_seconds`` at most.

        The block reports a success by ``Admission.succeeded``, and a failure by a FaultError that counts for the
        breaker. Any other end, e.g. cancellation, says nothing about the type.

        Raises DeferredError before the block if the breaker admits no job; after the block if it was cancelled because
        it is a probe whose lease has ended.
        """
        view = self._view(report_type)
        lease_seconds = timeout_seconds + LEASE_MARGIN_SECONDS
        # Read before the store reads its own clock, so this is never later than the end that the store knows.
        lease_end = trio.current_time() + lease_seconds
        answer = cast("Admit | Reject", (await self._apply(view, Ask(self._node, lease_seconds))).answer)
        if isinstance(answer, Reject):
            raise self._deferral(view, answer)
        admission = Admission(probe=answer.probe)
        outcome: BreakerInput = Release(answer.epoch)
        try:
            with trio.CancelScope(deadline=lease_end if answer.probe else float("inf")) as lease:
                yield admission
            if admission.render_seconds is not None:
                outcome = Success(self._node, answer.epoch, admission.render_seconds)
        except FaultError as error:
            nature = error.fault.nature
            if nature.counts_for_breaker or (admission.dedicated_browser and nature.kills_browser):
                outcome = Failure(self._node, answer.epoch, f"{error.fault.kind}: {error.fault.detail}")
            raise
        finally:
            await self._apply(view, outcome)
        if lease.cancelled_caught:
            raise DeferredError(0.0, "the lease of the probe has ended")

    def check(self, report_type: str) -> None:
        """Check by the cache, before a job waits for its permits. Raises DeferredError if the breaker admits no job."""
        view = self._view(report_type)
        answer = self._decide(view.breaker, Ask(self._node, 0.0), self._now()).answer
        if isinstance(answer, Reject):
            raise self._deferral(view, answer)

    def resting(self) -> frozenset[str]:
        """Return the types whose jobs are deferred now."""
        now = self._now()
        return frozenset(name for name, view in self._views.items() if view.breaker.rests(now))

    def holding(self) -> frozenset[str]:
        """Return the types whose jobs, all but a probe, wait until their breaker closes."""
        return frozenset(name for name, view in self._views.items() if view.breaker.holds)

    def probing(self) -> frozenset[str]:
        """Return the types whose next job is the probe."""
        return frozenset(name for name, view in self._views.items() if view.breaker.state in _PROBING)

    def failing(self, report_type: str) -> bool:
        """Return whether the type's last job failed, or its breaker is open or half-open.

        Then one job at a time is enough.
        """
        if report_type not in self._views:
            return False
        breaker = self._views[report_type].breaker
        return breaker.failures > 0 or breaker.state in _PROBING

    def snapshot(self) -> list[Breaker]:
        """Return the cached breakers, sorted by name."""
        return [view.breaker for _, view in sorted(self._views.items())]

    async def command(self, report_type: str, command: Command) -> Decision:
        """Apply an operator's command. A decision without a transition: the command does not fit the breaker's state.

        Raises UnavailableError when the store is unavailable, since a change on one node would not last. The command
        may have been applied or not. Shielded, because a change that was made must be reported.
        """
        view = self._view(report_type)
        with trio.CancelScope(shield=True):
            async with view.lock:
                try:
                    decision = await self._decide_shared(view, command)
                except UnavailableError as error:
                    self._store_failed(str(error))
                    raise
        return decision

    # --- deciding -------------------------------------------------------------------------------------------

    async def _apply(self, view: "_View", event: BreakerInput) -> Decision:
        """Decide by the cache; if that changes the breaker, decide by the store.

        Shielded, because a job that is cancelled must not leave a lease behind.
        """
        decision = self._decide(view.breaker, event, self._now())
        if decision.breaker is view.breaker:
            return decision
        with trio.CancelScope(shield=True):
            async with view.lock:
                # Another job may have changed the breaker while this one waited.
                decision = self._decide(view.breaker, event, self._now())
                if decision.breaker is not view.breaker:
                    shared = None if self.trouble else await self._call_store(lambda: self._decide_shared(view, event))
                    decision = shared or self._decide_locally(view, event)
        return decision

    def _decide_locally(self, view: "_View", event: BreakerInput) -> Decision:
        if isinstance(event, Success | Failure | Release) and event.epoch == view.lease:
            # No other node may probe until the store knows the outcome of this probe.
            view.unreported = event
        return self._adopt(view, self._decide(view.breaker, event, self._now()))

    async def _decide_shared(self, view: "_View", event: BreakerInput, *, announced: bool = False) -> Decision:
        """Load, decide and replace, again until no other node was faster.

        ``announced``: the listeners know of the transition already.
        """
        while True:
            name = view.breaker.report_type
            stored = await self._store.load([name])
            # A breaker that the store has lost is put back together with the event.
            breaker = stored.breakers.get(name) or replace(view.breaker, version=0)
            decision = self._decide(breaker, event, stored.at)
            durable = isinstance(event, Command)
            if decision.breaker is breaker or await self._store.replace(
                breaker.version, decision.breaker, durable=durable
            ):
                if isinstance(decision.answer, Admit) and decision.answer.probe:
                    view.lease = decision.answer.epoch
                return self._adopt(view, decision, announced=announced)

    def _decide(self, breaker: Breaker, event: BreakerInput, now: float) -> Decision:
        return decide(breaker, event, now, self._policy, chance=self._chance(), token=next(self._tokens))

    def _adopt(self, view: "_View", decision: Decision, *, announced: bool = False) -> Decision:
        self._update_cache(view, decision.breaker)
        if decision.transition and not announced:
            for listener in self._listeners:
                try:
                    listener(decision.transition)
                except Exception:
                    # A failing listener must not fail the job.
                    log.exception("breaker.listener_failed")
        return decision

    def _deferral(self, view: "_View", rejection: Reject) -> DeferredError:
        at = max(rejection.until, view.last_return + 1 / self._returns_per_second())
        view.last_return = min(at, rejection.until + self._policy.max_recovery_seconds)
        return DeferredError(max(0.0, view.last_return - self._now()), rejection.reason)

    # --- caching --------------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """Replace the cached state by the stored one, also what this node decided locally."""
        before = {name: view.breaker for name, view in self._views.items()}
        stored = await self._call_store(lambda: self._load(before))
        if stored is None:
            return
        if self.trouble:
            log.info("breakers.shared_again")
            self.trouble = ""
        for name, breaker in stored.breakers.items():
            # If the cached breaker has changed during the load, it is newer.
            if name in self._views and self._views[name].breaker is before[name]:
                self._update_cache(self._views[name], breaker)
        for view in [view for view in self._views.values() if view.unreported]:
            await self._call_store(partial(self._report_probe, view))

    def _update_cache(self, view: "_View", breaker: Breaker) -> None:
        before, view.breaker = view.breaker, breaker
        if (before.state, before.failures > 0) != (breaker.state, breaker.failures > 0):
            self.on_change()

    async def _report_probe(self, view: "_View") -> None:
        async with view.lock:
            if view.unreported:
                # Reporting it twice does no harm, because a lease counts once. The listeners were called when this node
                # decided locally.
                await self._decide_shared(view, view.unreported, announced=True)
                view.unreported = None

    async def _load(self, cached: dict[str, Breaker]) -> StoredBreakers:
        """Return the stored breakers. Put back those that the store has lost, as Redis may in a restart."""
        stored = await self._store.load(cached)
        self._ahead = stored.at - trio.current_time()
        restored = {}
        for name, breaker in cached.items():
            if breaker.version and name not in stored.breakers:
                copy = replace(breaker, version=1)
                if await self._store.replace(0, copy):
                    restored[name] = copy
        if self.trouble:
            await self._prove_writes(stored, cached)
        return StoredBreakers(stored.at, {**stored.breakers, **restored})

    async def _prove_writes(self, stored: StoredBreakers, cached: dict[str, Breaker]) -> None:
        """Raise unless the store accepts a write.

        A store that answers reads only must not replace the cached state, or no failure would ever count.
        """
        for name, breaker in islice(cached.items(), 1):
            # Write the stored state unchanged. If another node is faster, that also proves that writes work.
            current = stored.breakers.get(name)
            await self._store.replace(current.version if current else 0, current or replace(breaker, version=1))

    async def _call_store(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Return the store's answer. If it is unavailable, set ``trouble`` and return None."""
        try:
            with trio.fail_after(STORE_SECONDS):
                return await call()
        except UnavailableError as error:
            reason = str(error)
        except trio.TooSlowError:
            reason = f"the breaker store did not answer within {STORE_SECONDS:g} s"
        self._store_failed(reason)
        return None

    def _store_failed(self, reason: str) -> None:
        if not self.trouble:
            log.warning("breakers.alone", error=reason)
        self.trouble = f"{reason}; until it is back, this node's breakers are its own"

    def _now(self) -> float:
        """Return the store's time, estimated from its last answer."""
        return trio.current_time() + self._ahead

    def _view(self, report_type: str) -> "_View":
        if report_type not in self._views:
            self._views[report_type] = _View(Breaker(report_type))
        return self._views[report_type]


class _View:
    """One breaker as this node knows it.

    ``lease``: the last one that the store granted. ``unreported``: the outcome of its probe, until the store knows it.
    ``last_return``: when the last deferred message comes again.
    """

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.lock = trio.Lock()
        self.lease: str | None = None
        self.unreported: BreakerInput | None = None
        self.last_return = 0.0
