"""No job waits while all its permits are free, and none waits for ever: types x permits x jobs that timed out before.

Hypothesis chooses schedules, which run on a mock clock. After each step, every waiting job lacks a permit, no group
uses more permits than its limit was when its last job was admitted, and cancelled jobs have given back their permits.
"""

from dataclasses import dataclass, field

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from reportd.breakers.admission import DeferredError
from reportd.concurrency.nurseries import open_background
from reportd.work.bulkheads import MAX_OVERTAKEN, Bulkheads
from tests.daemon.work.test_bulkheads import FakeHealth

TYPES = ("one", "other", "third")


@dataclass
class Job:
    report_type: str
    timed_out_before: bool
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    end: trio.Event = field(default_factory=trio.Event)
    running: bool = False
    waiting: bool = False


class Schedule:
    """A node's bulkheads, the jobs in them, and the events that can happen to both."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.limits = dict(zip(TYPES, (1, 2, 0), strict=True))
        self.health = FakeHealth()
        self.bulkheads = Bulkheads(self.limits, lambda: 4, 2.0, self.health, spare=6)
        for name in TYPES:
            self.bulkheads.succeeded(name, 1.0)
        self.jobs: list[Job] = []
        self._nursery = nursery

    def come(self, report_type: str, *, timed_out_before: bool = False) -> Job:
        job = Job(report_type, timed_out_before)
        self.jobs.append(job)
        self._nursery.start_soon(self._run, job)
        return job

    async def _run(self, job: Job) -> None:
        try:
            with job.scope:
                async with self.bulkheads.enter(job.report_type, timed_out_before=job.timed_out_before) as turn:
                    job.waiting = True
                    await turn.wait()
                    job.waiting, job.running = False, True
                    await job.end.wait()
        except DeferredError:
            pass
        finally:
            job.waiting = job.running = False
            self.jobs.remove(job)

    def do(self, step: tuple[str, int]) -> None:
        what, number = step
        name = TYPES[number % len(TYPES)]
        if what in ("come", "timed_out_before"):
            self.come(name, timed_out_before=what == "timed_out_before")
        elif what == "limit":
            self.limits[name] = number // len(TYPES)
            self.bulkheads.recheck()
        elif what == "doubt":
            self.health.suspects ^= {name}
            self.bulkheads.recheck()
        elif self.jobs:
            job = self.jobs[number % len(self.jobs)]
            (job.scope.cancel if what == "cancel" else job.end.set)()

    def running(self, report_type: str) -> int:
        return sum(job.running for job in self.jobs if job.report_type == report_type)

    def could_go(self, job: Job) -> bool:
        """Return whether all its permits are free, and none is reserved for a job that was overtaken too often."""
        taken = any(one.running and one.timed_out_before for one in self.jobs)
        kept = any(turn.overtaken >= MAX_OVERTAKEN for turn in self.bulkheads._waiting)
        free = self.running(job.report_type) < self.bulkheads.limit(job.report_type)
        return free and not (job.timed_out_before and (taken or kept))

    def check(self) -> None:
        assert [job for job in self.jobs if job.waiting and self.could_go(job)] == []
        assert sum(job.running for job in self.jobs if job.timed_out_before) <= 1


ARRIVES = st.tuples(st.sampled_from(["come", "timed_out_before"]), st.integers(0, len(TYPES) - 1))
STEPS = ARRIVES | ARRIVES | st.tuples(st.sampled_from(["end", "cancel", "limit", "doubt"]), st.integers(0, 11))


@settings(max_examples=300)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=2), min_size=10, max_size=30))
def test_whatever_happens_no_job_waits_while_everything_that_it_needs_is_free(
    moments: list[list[tuple[str, int]]],
) -> None:
    async def main() -> None:
        async with open_background() as nursery:
            schedule = Schedule(nursery)
            for moment in moments:
                most = {name: float(schedule.running(name)) for name in TYPES}
                for step in moment:
                    schedule.do(step)
                    most = {name: max(count, schedule.bulkheads.limit(name)) for name, count in most.items()}
                await wait_all_tasks_blocked()
                schedule.check()
                for name in TYPES:
                    assert schedule.running(name) <= most[name]
            # No job is forgotten: when the running jobs end one by one, every waiting job gets its turn.
            while schedule.jobs:
                running = [job for job in schedule.jobs if job.running]
                assert running, "all wait and nobody runs"
                running[0].end.set()
                await wait_all_tasks_blocked()
                schedule.check()
            # No permit is left in use.
            schedule.limits.update(dict.fromkeys(TYPES, 1))
            schedule.health.suspects.clear()
            schedule.bulkheads.recheck()
            assert schedule.bulkheads.at_most() == dict.fromkeys(TYPES, 2)
            schedule.come("one", timed_out_before=True)
            await wait_all_tasks_blocked()
            assert schedule.running("one") == 1

    trio.run(main, clock=MockClock())
