"""The circuit breakers as the worker, the poller and the operator see them.

``core.breaker`` decides; this module asks the store and caches its answer. A job of a type without trouble needs no
call to the store: ``run`` refreshes the cache. While the store is away, each node decides by its own cache, so there
may be one probe a node. The store's state counts again as soon as it is back.
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
"""How old what is remembered may be, so that every node sees a change within a second."""

LEASE_MARGIN_SECONDS = 10.0
"""A probe's lease is longer than the deadline of its render, by what the steps around it take."""

STORE_SECONDS = 3.0
"""How long the store may hold up a job, even one that is cancelled."""

_UNPROVED = (BreakerState.OPEN, BreakerState.HALF_OPEN)

T = TypeVar("T")

log = structlog.get_logger()


class DeferredError(Exception):
    """The report type rests; the message may come again after ``seconds``. It has used no attempt (I3)."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds


class Admission:
    """Leave to render one job."""

    def __init__(self, *, probe: bool) -> None:
        self.probe = probe
        self.alone = False
        """In a browser of its own: if that dies, it is the job's doing."""
        self.rendered_in: float | None = None

    def succeeded(self, seconds: float) -> None:
        """It was rendered within so many seconds. To be said last."""
        self.rendered_in = seconds


class Breakers:
    """One a node. ``trouble`` says why the store is away, for people; it is empty while all is well.

    Of the messages that were put off, ``returns_per_second`` come again for each type, so that they don't all come
    at once. ``listeners`` hear of every transition that this node made, so of all nodes' listeners one does.
    ``on_change`` is called when ``suspect`` or ``unproved`` may be otherwise, whichever node has made them so.
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
        """Keep fresh what is remembered. Started when the store has been asked once, whether it answered or not."""
        await self._refresh()
        task_status.started()
        while True:
            await trio.sleep(REFRESH_SECONDS)
            await self._refresh()

    def reconfigure(self, report_types: Iterable[str]) -> None:
        """These are the report types now. What the store keeps of the others stays there."""
        self._views = {name: self._view(name) for name in report_types}

    @asynccontextmanager
    async def admit(self, report_type: str, timeout_seconds: float) -> AsyncIterator[Admission]:
        """Around one render, which takes ``timeout_seconds`` at most.

        What leaves the block decides: ``succeeded`` was said, or a FaultError that trips; anything else, such as
        cancellation, says nothing about the type. Raises DeferredError, before the block if the type rests; after it
        if a probe has outlived its lease, by which it was cancelled.
        """
        view = self._view(report_type)
        lease_seconds = timeout_seconds + LEASE_MARGIN_SECONDS
        # Taken before the store takes its own time, so never later than the end that the store knows.
        lease_end = trio.current_time() + lease_seconds
        answer = cast("Admit | Reject", (await self._tell(view, Ask(self._node, lease_seconds))).answer)
        if isinstance(answer, Reject):
            raise self._defer(view, answer)
        admission = Admission(probe=answer.probe)
        news: BreakerInput = Release(answer.epoch)
        try:
            with trio.CancelScope(deadline=lease_end if answer.probe else float("inf")) as lease:
                yield admission
            if admission.rendered_in is not None:
                news = Success(self._node, answer.epoch, admission.rendered_in)
        except FaultError as error:
            if error.fault.nature.counts_for_breaker or (admission.alone and error.fault.nature.kills_browser):
                news = Failure(self._node, answer.epoch, f"{error.fault.kind}: {error.fault.detail}")
            raise
        finally:
            await self._tell(view, news)
        if lease.cancelled_caught:
            raise DeferredError(0.0, "the probe has outlived its lease")

    def check(self, report_type: str) -> None:
        """For a job that will have to wait before it can be admitted. Raises DeferredError if its type rests."""
        view = self._view(report_type)
        answer = self._decide(view.breaker, Ask(self._node, 0.0), self._now()).answer
        if isinstance(answer, Reject):
            raise self._defer(view, answer)

    def resting(self) -> frozenset[str]:
        """The types of which a message would be put off."""
        now = self._now()
        return frozenset(name for name, view in self._views.items() if view.breaker.rests(now))

    def holding(self) -> frozenset[str]:
        """The types whose jobs wait for their breaker to close, all but a probe."""
        return frozenset(name for name, view in self._views.items() if view.breaker.holds)

    def probing(self) -> frozenset[str]:
        """The types of which the next job is to tell whether they work."""
        return frozenset(name for name, view in self._views.items() if view.breaker.state in _UNPROVED)

    def failing(self, report_type: str) -> bool:
        """Whether the last thing heard of it is a failure: then one job at a time is enough."""
        if report_type not in self._views:
            return False
        breaker = self._views[report_type].breaker
        return breaker.failures > 0 or breaker.state in _UNPROVED

    def snapshot(self) -> list[Breaker]:
        """What is remembered, by name."""
        return [view.breaker for _, view in sorted(self._views.items())]

    async def command(self, report_type: str, command: Command) -> Decision:
        """Do what an operator says; without a transition it made no sense in the breaker's state.

        Raises UnavailableError: what one node did alone would not last. Then it may have been done or not. Shielded,
        because what has been done must be told.
        """
        view = self._view(report_type)
        with trio.CancelScope(shield=True):
            async with view.lock:
                try:
                    decision = await self._shared(view, command)
                except UnavailableError as error:
                    self._away(str(error))
                    raise
        return decision

    # --- telling --------------------------------------------------------------------------------------------

    async def _tell(self, view: "_View", news: BreakerInput) -> Decision:
        """Shielded, because a lease must not be granted to somebody who is gone, nor kept by him."""
        decision = self._decide(view.breaker, news, self._now())
        if decision.breaker is view.breaker:
            return decision
        with trio.CancelScope(shield=True):
            async with view.lock:
                # Others may have told something while this waited.
                decision = self._decide(view.breaker, news, self._now())
                if decision.breaker is not view.breaker:
                    shared = None if self.trouble else await self._reach(lambda: self._shared(view, news))
                    decision = shared or self._alone(view, news)
        return decision

    def _alone(self, view: "_View", news: BreakerInput) -> Decision:
        if isinstance(news, Success | Failure | Release) and news.epoch == view.lease:
            # Until the store has heard of it, no other node may probe.
            view.owed = news
        return self._taken(view, self._decide(view.breaker, news, self._now()))

    async def _shared(self, view: "_View", news: BreakerInput, *, known: bool = False) -> Decision:
        """Load, decide, replace, until nobody was quicker. ``known``: the listeners have heard of what follows."""
        while True:
            name = view.breaker.report_type
            kept = await self._store.load([name])
            # What the store has lost is put back with the news.
            breaker = kept.breakers.get(name) or replace(view.breaker, version=0)
            decision = self._decide(breaker, news, kept.at)
            durable = isinstance(news, Command)
            if decision.breaker is breaker or await self._store.replace(
                breaker.version, decision.breaker, durable=durable
            ):
                if isinstance(decision.answer, Admit) and decision.answer.probe:
                    view.lease = decision.answer.epoch
                return self._taken(view, decision, known=known)

    def _decide(self, breaker: Breaker, news: BreakerInput, now: float) -> Decision:
        return decide(breaker, news, now, self._policy, chance=self._chance(), token=next(self._tokens))

    def _taken(self, view: "_View", decision: Decision, *, known: bool = False) -> Decision:
        self._remember(view, decision.breaker)
        if decision.transition and not known:
            for listener in self._listeners:
                try:
                    listener(decision.transition)
                except Exception:
                    # Whoever only looks on must not fail the job.
                    log.exception("breaker.listener_failed")
        return decision

    def _defer(self, view: "_View", wait: Reject) -> DeferredError:
        at = max(wait.until, view.last_return + 1 / self._returns_per_second())
        view.last_return = min(at, wait.until + self._policy.max_recovery_seconds)
        return DeferredError(max(0.0, view.last_return - self._now()), wait.why)

    # --- remembering ----------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        """What the store keeps takes the place of what is remembered, whatever this node did alone."""
        before = {name: view.breaker for name, view in self._views.items()}
        kept = await self._reach(lambda: self._load(before))
        if kept is None:
            return
        if self.trouble:
            log.info("breakers.shared_again")
            self.trouble = ""
        for name, breaker in kept.breakers.items():
            # What has been told in the meantime is newer.
            if name in self._views and self._views[name].breaker is before[name]:
                self._remember(self._views[name], breaker)
        for view in [view for view in self._views.values() if view.owed]:
            await self._reach(partial(self._pay, view))

    def _remember(self, view: "_View", breaker: Breaker) -> None:
        before, view.breaker = view.breaker, breaker
        if (before.state, before.failures > 0) != (breaker.state, breaker.failures > 0):
            self.on_change()

    async def _pay(self, view: "_View") -> None:
        async with view.lock:
            if view.owed:
                # That it may be told twice does no harm: a lease gives one verdict. The listeners heard of it when
                # this node did it alone.
                await self._shared(view, view.owed, known=True)
                view.owed = None

    async def _load(self, remembered: dict[str, Breaker]) -> StoredBreakers:
        """What the store keeps. If it has forgotten something, as Redis does in a restart, it is told again."""
        kept = await self._store.load(remembered)
        self._ahead = kept.at - trio.current_time()
        put_back = {}
        for name, breaker in remembered.items():
            if breaker.version and name not in kept.breakers:
                again = replace(breaker, version=1)
                if await self._store.replace(0, again):
                    put_back[name] = again
        if self.trouble:
            await self._prove_writes(kept, remembered)
        return StoredBreakers(kept.at, {**kept.breakers, **put_back})

    async def _prove_writes(self, kept: StoredBreakers, remembered: dict[str, Breaker]) -> None:
        """A store may answer and take nothing. Then what it kept before must not win, or no failure would count."""
        for name, breaker in islice(remembered.items(), 1):
            # As it is kept; whoever was quicker has proved it, too.
            there = kept.breakers.get(name)
            await self._store.replace(there.version if there else 0, there or replace(breaker, version=1))

    async def _reach(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """What the store answers; None, and ``trouble``, when it is away."""
        try:
            with trio.fail_after(STORE_SECONDS):
                return await call()
        except UnavailableError as error:
            why = str(error)
        except trio.TooSlowError:
            why = f"the store of the breakers did not answer within {STORE_SECONDS:g} s"
        self._away(why)
        return None

    def _away(self, why: str) -> None:
        if not self.trouble:
            log.warning("breakers.alone", error=why)
        self.trouble = f"{why}; until it is back, this node's breakers are its own"

    def _now(self) -> float:
        """The store's time, as far as it is known."""
        return trio.current_time() + self._ahead

    def _view(self, report_type: str) -> "_View":
        if report_type not in self._views:
            self._views[report_type] = _View(Breaker(report_type))
        return self._views[report_type]


class _View:
    """What a node knows of one breaker.

    ``lease`` is the last one that the store gave it, ``owed`` what the store has not heard of the probe that had it.
    ``last_return``: when the last message that was put off comes again.
    """

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.lock = trio.Lock()
        self.lease: str | None = None
        self.owed: BreakerInput | None = None
        self.last_return = 0.0
