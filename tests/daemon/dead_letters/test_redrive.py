"""After an outage, a canary finds out that it is over; then all jobs that it stopped succeed by themselves."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.config.models import Breaker as BreakerOptions
from reportd.config.models import Triage as TriageOptions
from reportd.core.faults import FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent, JobState
from reportd.ports import AuditEntry, LetterStatus, OnProgress, Pdf, RenderRequest, ignore_progress
from tests.daemon.node import NEVER_OPENS, Node, World, job
from tests.fakes import FakeRenderer, now
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")

COOLDOWN = 60.0
REAL_BREAKER = BreakerOptions()
HOUR = 3600.0


@pytest.fixture(autouse=True)
def patient_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours pass here. Polls twice a second would take nearly all of the test's time."""
    monkeypatch.setattr("reportd.work.poller.LIMITED_SECONDS", 10.0)


class Outage(FakeRenderer):
    """The pages of all reports fail for some time, and those of ``poison`` for ever.

    ``renders``: for each, when it began, the task, and whether it succeeded.
    """

    def __init__(self, world: World, *, seconds: float) -> None:
        super().__init__(world.slots, world.weather)
        self.ends_at = now() + seconds
        self.poison: set[str] = set()
        self.renders: list[tuple[float, str, bool]] = []
        self._world = world
        world.renderer = self

    async def render(
        self, request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress = ignore_progress
    ) -> Pdf:
        works = now() >= self.ends_at and request.task_id not in self.poison
        self.renders.append((now(), request.task_id, works))
        if not works:
            self.faults[request.task_id] = [FaultKind.PAGE_UNAVAILABLE]
        return await super().render(request, dedicated_browser=dedicated_browser, on_progress=on_progress)

    def canaries(self) -> list[float]:
        """Return the times of the redrives during the outage."""
        return [entry.at for entry in redriven(self._world) if entry.at < self.ends_at]


def redriven(world: World) -> list[AuditEntry]:
    return [entry for entry in world.audit.entries if entry.action == "dead_letter.redriven"]


def world_with(count: int, *, max_redrives: int = 2, max_wait_seconds: float = 86400.0) -> tuple[World, list[Job]]:
    world = World(slots=4)
    world.triage = TriageOptions(
        cooldown_seconds=COOLDOWN, max_redrives=max_redrives, max_wait_seconds=max_wait_seconds
    )
    return world, [job(number) for number in range(1, count + 1)]


async def all_ended(world: World, jobs: list[Job]) -> Counter[JobState]:
    return Counter([(await world.terminal(one)).state for one in jobs])


def at_most_one_each_cooldown(times: list[float]) -> bool:
    return all(later - earlier >= COOLDOWN for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    ("breaker", "hours", "count"),
    [(NEVER_OPENS, 0.25, 200), (NEVER_OPENS, 8.0, 5), (REAL_BREAKER, 0.25, 200), (REAL_BREAKER, 8.0, 12)],
    ids=["soon over", "few, for hours", "breaker", "few, breaker, for hours"],
)
async def test_after_an_outage_all_succeed_and_nobody_touches_anything(
    breaker: BreakerOptions, hours: float, count: int
) -> None:
    world, jobs = world_with(count)
    outage = Outage(world, seconds=hours * HOUR)
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world, breaker=breaker).run, trio.Event())
        with trio.fail_after(hours * HOUR + 2 * HOUR):
            assert await all_ended(world, jobs) == {JobState.SUCCEEDED: count}
        await trio.sleep(600.0)
    # With a breaker, nearly all jobs wait for it and have used no attempt.
    assert len(outage.canaries()) >= hours * 4 or breaker is REAL_BREAKER
    assert at_most_one_each_cooldown(outage.canaries())
    assert not world.quarantined
    assert not world.letters.letters
    assert not world.letters.known_causes
    assert max(Counter(task_id for _, task_id, works in outage.renders if works).values()) == 1
    assert redriven(world) == world.audit.entries


async def test_once_the_canary_has_succeeded_the_rest_follow_at_a_rising_rate() -> None:
    world, jobs = world_with(120)
    outage = Outage(world, seconds=HOUR)
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        await all_ended(world, jobs)
    waves = [entry.detail["jobs"] for entry in redriven(world) if entry.at >= outage.ends_at]
    assert list(dict.fromkeys(waves)) == [1, 2, 4, 8, 16, 32, 57]


async def test_one_report_that_always_fails_is_quarantined_after_its_redrives() -> None:
    world, (one, *_) = world_with(1)
    outage = Outage(world, seconds=1e9)
    await world.send(one)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        assert (await world.terminal(one)).state is JobState.QUARANTINED
    assert len(outage.renders) == 3 + 2
    assert world.letters.letters[one.task_id].redrives == 2
    (letter,) = world.quarantined
    assert mentions(letter.reason, "2 times")


async def test_those_that_fail_by_themselves_are_told_from_the_victims() -> None:
    """Ten of a hundred jobs never succeed, with the same fault as in the outage."""
    world, jobs = world_with(100)
    outage = Outage(world, seconds=HOUR)
    outage.poison = {one.task_id for one in jobs[::10]}
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        with trio.fail_after(12 * HOUR):
            assert await all_ended(world, jobs) == {JobState.SUCCEEDED: 90, JobState.QUARANTINED: 10}
    assert {letter.id for letter in world.quarantined} == outage.poison
    assert set(world.letters.letters) == outage.poison


async def test_a_cause_that_does_not_pass_is_not_waited_for_for_ever() -> None:
    world, jobs = world_with(30, max_wait_seconds=6 * HOUR)
    outage = Outage(world, seconds=1e9)
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        with trio.fail_after(7 * HOUR):
            assert await all_ended(world, jobs) == {JobState.QUARANTINED: 30}
        await trio.sleep(600.0)
    assert trio.current_time() > 6 * HOUR
    assert len(world.quarantined) == len(world.letters.letters) == 30
    assert at_most_one_each_cooldown(outage.canaries())
    assert all(letter.standing is LetterStatus.QUARANTINED for letter in world.letters.letters.values())
    assert not world.queue.messages


async def test_what_is_cancelled_while_it_waits_is_forgotten() -> None:
    world, jobs = world_with(3)
    Outage(world, seconds=HOUR)
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        await trio.sleep(30.0)
        assert len(world.letters.letters) == 3
        world.jobs._move(jobs[0].task_id, JobEvent.CANCELLED)
        await trio.sleep(10.0)
        assert set(world.letters.letters) == {one.task_id for one in jobs[1:]}


async def test_nodes_share_one_canary() -> None:
    world, jobs = world_with(60)
    outage = Outage(world, seconds=2 * HOUR)
    await world.send(*jobs)
    async with open_background() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(Node(world, name=name).run, trio.Event())
        assert await all_ended(world, jobs) == {JobState.SUCCEEDED: 60}
    assert at_most_one_each_cooldown(outage.canaries())


async def test_nodes_that_both_lead_share_one_canary_all_the_same() -> None:
    """A lease ends while its holder is slow. Even so, only one node redrives the cause."""
    world, jobs = world_with(20)
    outage = Outage(world, seconds=HOUR)

    async def always(work: str, node: str, seconds: float) -> bool:
        del work, node, seconds
        return True

    world.jobs.acquire_lease = always  # type: ignore[method-assign]
    await world.send(*jobs)
    async with open_background() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(Node(world, name=name).run, trio.Event())
        assert await all_ended(world, jobs) == {JobState.SUCCEEDED: 20}
    assert at_most_one_each_cooldown(outage.canaries())


async def test_a_queue_that_does_not_take_the_canary_gets_it_later() -> None:
    world, jobs = world_with(5)
    Outage(world, seconds=HOUR)
    await world.send(*jobs)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        await trio.sleep(HOUR / 2)
        world.weather.away("queue", HOUR)
        assert await all_ended(world, jobs) == {JobState.SUCCEEDED: 5}
    assert not world.quarantined


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_it_may_be_cut_off_at_any_call(phase: str) -> None:
    chance = random.Random(phase)
    for _ in range(25):
        # They fail one after the other. While the first is the only one, its redrive counts.
        world, jobs = world_with(6, max_redrives=20)
        await world.send(*jobs)
        Outage(world, seconds=20 * 60.0)
        # Five lost nodes would count against a job.
        for _ in range(4):
            await until_killed(world, chance.randint(1, 250), phase)
        world.weather.hook = None
        async with open_background() as nursery:
            nursery.start_soon(Node(world).run, trio.Event())
            with trio.fail_after(5 * HOUR):
                assert await all_ended(world, jobs) == {JobState.SUCCEEDED: 6}
            await trio.sleep(600.0)
        assert all(world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED] for one in jobs)
        assert not world.letters.letters
        assert not world.queue.messages
        assert not world.dead.messages


async def until_killed(world: World, number: int, phase: str) -> None:
    killed = world.weather.kill_at(number, phase)
    async with open_background() as nursery:
        nursery.start_soon(Node(world).run, trio.Event())
        await killed.wait()
