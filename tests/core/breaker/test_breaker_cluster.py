"""Many nodes change one breaker, each in two steps (load, replace if the version is the same).

Any node may be late, have a wrong clock, or die between the steps.
"""

from dataclasses import dataclass
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reportd.core.breaker.breaker import (
    TRANSITIONS,
    Admit,
    Ask,
    Breaker,
    BreakerEvent,
    BreakerInput,
    BreakerPolicy,
    BreakerState,
    Command,
    Decision,
    Failure,
    Reject,
    Release,
    Success,
)
from reportd.core.breaker.decide import decide

LEASE_SECONDS = 30.0
ROUNDING_SECONDS = 1e-6
"""10.1 + 0.1 + 29.9 is a little less than 10.1 + 30, and the store's clock, which counts from 1e6, rounds otherwise."""
NODES = ("n1", "n2", "n3", "n4")
nodes = st.sampled_from(NODES)
any_index = st.sampled_from([0, 0, 0, 1, 2, 3, 9])
seldom = st.sampled_from([False, False, False, True])


@dataclass(eq=False)
class Step:
    """A node has loaded ``breaker`` at the store's time ``at`` and will replace it."""

    signal: BreakerInput
    breaker: Breaker
    at: float
    began: float


@dataclass(eq=False)
class Running:
    """A job that a node renders. A probe is cancelled at ``ends``, by the node's monotonic clock."""

    node: str
    epoch: str
    ends: float | None


class Cluster(RuleBasedStateMachine):
    """``elapsed``: true time. The store's clock differs by ``offset``, each node's clock by its own skew."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0
        self.offset = 1e6
        self.stored = Breaker("sales")
        self.views = dict.fromkeys(NODES, self.stored)
        self.steps: list[Step] = []
        self.running: list[Running] = []
        self.tokens = 0
        self.chances = Random(0)
        self.in_a_row = 0

    @initialize(
        threshold=st.integers(1, 2),
        successes=st.integers(1, 2),
        skews=st.lists(st.floats(-100, 100), min_size=4, max_size=4),
    )
    def start(self, threshold: int, successes: int, skews: list[float]) -> None:
        self.policy = BreakerPolicy(
            failure_threshold=threshold, recovery_seconds=10, max_recovery_seconds=35, successes_to_close=successes
        )
        self.skews = dict(zip(NODES, skews, strict=True))

    @property
    def now(self) -> float:
        return self.elapsed + self.offset

    def decide(self, breaker: Breaker, signal: BreakerInput, at: float) -> Decision:
        self.tokens += 1
        return decide(breaker, signal, at, self.policy, chance=self.chances.random(), token=str(self.tokens))

    def send(self, signal: BreakerInput, *, late: bool = False) -> None:
        """``late``: the node replaces what it has loaded only after other steps, or never."""
        step = Step(signal, self.stored, self.now, self.elapsed)
        if late:
            self.steps.append(step)
        else:
            self.apply(step)

    def apply(self, step: Step, *, lost: bool = False) -> None:
        """``lost``: the store is changed, but the node dies before it has the answer."""
        decision = self.decide(step.breaker, step.signal, step.at)
        if decision.breaker is not step.breaker:
            if self.stored.version != step.breaker.version:
                self.send(step.signal)
                return
            self.check(step, decision)
            self.stored = decision.breaker
        if isinstance(decision.answer, Reject):
            assert step.at <= decision.answer.until <= step.at + self.policy.max_recovery_seconds
        if isinstance(decision.answer, Admit) and isinstance(step.signal, Ask) and not lost:
            ends = step.began + LEASE_SECONDS if decision.answer.probe else None
            if ends is None or ends > self.elapsed:
                self.running.append(Running(step.signal.by, decision.answer.epoch, ends))

    # --- rules ----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 9.9, 10.0, 29.9, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.elapsed += seconds
        now = self.elapsed + ROUNDING_SECONDS
        for job in [job for job in self.running if job.ends is not None and job.ends <= now]:
            self.running.remove(job)
            self.send(Release(job.epoch))

    @rule(node=nodes, late=seldom)
    def the_wait_is_over(self, node: str, *, late: bool) -> None:
        self.time_passes(min(self.policy.max_recovery_seconds, max(0.0, self.stored.until - self.now)))
        self.send(Ask(node, LEASE_SECONDS), late=late)

    @precondition(lambda self: self.stored.state is BreakerState.CLOSED)
    @rule(node=nodes)
    def the_back_end_breaks(self, node: str) -> None:
        for _ in range(self.policy.failure_threshold):
            self.send(Failure(node, self.stored.epoch, "timeout: 60 s"))

    @rule(seconds=st.sampled_from([0.001, 5.0, 3600.0]))
    def the_clock_of_the_store_is_set_back(self, seconds: float) -> None:
        self.offset -= seconds

    @rule(node=nodes, refreshed=st.booleans(), late=seldom)
    def a_node_asks(self, node: str, *, refreshed: bool, late: bool) -> None:
        """A node decides by its copy of the breaker, and asks the store only if the copy would change."""
        if refreshed:
            self.views[node] = self.stored
        ask, view = Ask(node, LEASE_SECONDS), self.views[node]
        guess = self.decide(view, ask, self.now + self.skews[node])
        if guess.breaker is not view:
            self.send(ask, late=late)
        elif isinstance(guess.answer, Admit):
            self.running.append(Running(node, guess.answer.epoch, None))

    @precondition(lambda self: self.running)
    @rule(
        index=any_index, how=st.sampled_from(["success", "failure", "failure", "cancelled", "node died"]), late=seldom
    )
    def a_job_ends(self, index: int, how: str, *, late: bool) -> None:
        job = self.running.pop(-1 - index % len(self.running))
        if how == "success":
            self.send(Success(job.node, job.epoch, 1.0), late=late)
        elif how == "failure":
            self.send(Failure(job.node, job.epoch, "timeout: 60 s"), late=late)
        elif how == "cancelled":
            self.send(Release(job.epoch), late=late)

    @rule(event=st.sampled_from(BreakerEvent), wanted=seldom, late=seldom)
    def an_operator_commands(self, event: BreakerEvent, *, wanted: bool, late: bool) -> None:
        if wanted:
            self.send(Command("ann", event), late=late)

    @precondition(lambda self: self.steps)
    @rule(index=any_index, fate=st.sampled_from(["taken", "taken", "taken, but lost", "never taken"]))
    def a_late_step_ends(self, index: int, fate: str) -> None:
        step = self.steps.pop(index % len(self.steps))
        if fate != "never taken":
            self.apply(step, lost=fate == "taken, but lost")

    # --- invariants -----------------------------------------------------------------------------------------

    @invariant()
    def at_most_one_probe_runs(self) -> None:
        assert sum(job.ends is not None for job in self.running) <= 1

    def check(self, step: Step, decision: Decision) -> None:
        before, after, signal = step.breaker, decision.breaker, step.signal
        assert after.version > before.version
        if (
            before.state is BreakerState.CLOSED
            and isinstance(signal, Success | Failure)
            and signal.epoch == before.epoch
        ):
            self.in_a_row = self.in_a_row + 1 if isinstance(signal, Failure) else 0
        transition = decision.transition
        if transition is None:
            assert after.state is before.state
            return
        assert (transition.source, transition.target) == (before.state, after.state)
        assert TRANSITIONS[before.state, transition.event] is after.state
        assert after.epoch != before.epoch
        if before.state in (BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED):
            assert isinstance(signal, Command)
        if transition.event is BreakerEvent.TRIPPED:
            assert self.in_a_row == self.policy.failure_threshold
        if after.state is BreakerState.CLOSED:
            by_hand = isinstance(signal, Command) and signal.event is BreakerEvent.RESET
            by_probe = (
                isinstance(signal, Success) and before.state is BreakerState.HALF_OPEN and signal.epoch == before.epoch
            )
            assert by_hand or by_probe
        if after.state is BreakerState.OPEN:
            assert after.until - step.at <= self.policy.max_recovery_seconds
        self.in_a_row = 0

    def teardown(self) -> None:
        """After any history, time and an Ask lead to a probe, and successes close the breaker."""
        if not self.tokens:
            return
        for seconds in (0.0, self.policy.max_recovery_seconds, LEASE_SECONDS):
            self.elapsed += seconds
            decision = self.decide(self.stored, Ask("n1", LEASE_SECONDS), self.now)
            self.stored = decision.breaker
        if self.stored.state is BreakerState.FORCED_OPEN:
            assert isinstance(decision.answer, Reject)
            return
        for _ in range(self.policy.successes_to_close):
            assert isinstance(decision.answer, Admit)
            self.stored = self.decide(self.stored, Success("n1", decision.answer.epoch, 1.0), self.now).breaker
            decision = self.decide(self.stored, Ask("n1", LEASE_SECONDS), self.now)
            self.stored = decision.breaker
        assert self.stored.state in (BreakerState.CLOSED, BreakerState.FORCED_CLOSED)


Cluster.TestCase.settings = settings(max_examples=150, stateful_step_count=80, deadline=None)
TestCluster = Cluster.TestCase
