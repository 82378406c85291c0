"""The backlog is shared: an open breaker or a greedy user takes no place of others; bursts count exactly (I15)."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from reportd.concurrency.nurseries import open_background
from reportd.core.capacity.backlog import BacklogPolicy, Limit, sum_excess
from reportd.core.jobs.submission import Submission
from reportd.intake.backlog import Backlog, BusyError, _Tally
from reportd.intake.service import Service
from reportd.ports import UnavailableError
from reportd.telemetry.metrics import Metrics
from tests.daemon.node import USER, World, job, open_service, submission
from tests.exposed import samples

pytestmark = pytest.mark.usefixtures("autojump_clock")

ANN, BEN = str(UUID(int=1)), str(UUID(int=2))


@dataclass
class Place:
    """``held``: the report types whose breaker is open."""

    world: World
    service: Service
    backlog: Backlog
    metrics: Metrics
    held: set[str] = field(default_factory=set)

    async def accepted(self, count: int, report_type: str = "report", user_id: str = USER) -> int:
        """Return how many of the submissions are accepted."""
        accepted = 0
        for _ in range(count):
            with suppress(BusyError):
                await self.service.submit(Submission(report_type, {}, user_id))
                accepted += 1
        return accepted


@asynccontextmanager
async def opened(most: int, world: World | None = None) -> AsyncIterator[Place]:
    world, metrics, held = world or World(), Metrics({"report": "report"}), set[str]()
    world.types.names |= {"healthy", "sick", "poisoned", "other", "third"}
    backlog = Backlog(
        BacklogPolicy(most), jobs=world.jobs, queue=world.queue, held=lambda: frozenset(held), meter=metrics
    )
    async with open_service(world, backlog=backlog, meter=metrics) as service:
        yield Place(world, service, backlog, metrics, held)


# --- shares -------------------------------------------------------------------------------------------------


async def test_a_type_that_is_held_costs_the_others_no_place() -> None:
    async with opened(100) as place:
        place.held.add("sick")
        assert await place.accepted(1, "healthy") == 1
        assert await place.accepted(60, "sick") == 50
        assert await place.accepted(110, "healthy") == 99, "of the whole, with what was there before"


async def test_a_type_that_is_poisoned_takes_half_at_most() -> None:
    async with opened(100) as place:
        assert await place.accepted(1, "healthy") == 1
        assert await place.accepted(100, "poisoned") == 50
        assert await place.accepted(100, "healthy") == 49


async def test_a_user_takes_a_quarter_at_most_while_there_are_many() -> None:
    async with opened(100) as place:
        others = [str(UUID(int=number)) for number in range(3)]
        assert sum([await place.accepted(1, user_id=user) for user in others]) == 3
        assert await place.accepted(100) == 25
        assert [await place.accepted(24, user_id=user) for user in others] == [24, 24, 24]


async def test_who_is_alone_may_fill_all_of_it_and_the_next_one_finds_room() -> None:
    async with opened(100) as place:
        assert await place.accepted(200) == 100
        assert await place.accepted(100, "other", BEN) == 50
        assert await place.accepted(1) == 0


async def test_what_a_type_held_counts_again_when_its_breaker_has_closed() -> None:
    async with opened(100) as place:
        place.held.add("sick")
        assert await place.accepted(100, "sick") == 100, "it is alone"
        place.held.clear()
        assert await place.accepted(100, "healthy") == 50
        assert await place.accepted(1, "sick") == 0


async def test_a_user_of_a_held_type_has_his_share_of_the_healthy_ones_left() -> None:
    async with opened(100) as place:
        place.held.add("sick")
        assert await place.accepted(1, "healthy", ANN) == 1
        assert [await place.accepted(30, "sick", user) for user in (ANN, BEN)] == [30, 20]
        assert await place.accepted(120, "healthy", ANN) == 99


# --- exact counts -------------------------------------------------------------------------------------------


async def test_it_refuses_until_it_has_shrunk() -> None:
    async with opened(3) as place, open_background() as nursery:
        nursery.start_soon(place.backlog.watch, 1.0)
        await trio.sleep(0.5)
        assert await place.accepted(4) == 3
        await trio.sleep(1.5)
        assert await place.accepted(1) == 0
        await place.service.cancel(next(iter(place.world.jobs.records)))
        place.world.queue.messages.pop()
        await trio.sleep(1.5)
        assert await place.accepted(2) == 1


async def test_a_burst_at_the_same_instant_finds_no_more_places_than_there_are() -> None:
    async with opened(10) as place:

        async def slow(_call: str, _when: str) -> None:
            await trio.sleep(0.1)

        place.world.weather.hook = slow
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(place.accepted, 1)
        assert len(place.world.jobs.records) == 10


@pytest.mark.parametrize("call", ["jobs.waiting", "queue.depth"])
async def test_what_is_under_way_while_it_is_counted_counts(call: str) -> None:
    async with opened(2) as place, open_background() as nursery:

        async def slow(what: str, when: str) -> None:
            if (what, when) == ("jobs.add", "before"):
                await trio.sleep(3.0)
            elif (what, when) == (call, "after"):
                await trio.sleep(5.0)

        place.world.weather.hook = slow
        nursery.start_soon(place.accepted, 1)
        await trio.sleep(1.0)
        nursery.start_soon(place.backlog.watch, 60.0)
        await trio.sleep(1.0)
        assert await place.accepted(1) == 1
        await trio.sleep(20.0)
        assert await place.accepted(1) == 0


async def test_what_could_not_be_queued_takes_no_place() -> None:
    async with opened(1) as place:
        place.world.weather.fail("queue.send", UnavailableError("queue", "away"))
        with pytest.raises(UnavailableError):
            await place.service.submit(submission())
        assert await place.accepted(2) == 1


async def test_a_repetition_takes_no_place() -> None:
    async with opened(2) as place:
        for _ in range(3):
            await place.service.submit(submission("key"))
            await trio.sleep(1.0)
        assert await place.accepted(2) == 1


async def test_what_is_sent_straight_to_the_queue_counts() -> None:
    async with opened(10) as place, open_background() as nursery:
        await place.world.send(*(job(number) for number in range(1, 8)))
        nursery.start_soon(place.backlog.watch, 1.0)
        await trio.sleep(0.5)
        assert await place.accepted(5) == 3


async def test_other_nodes_jobs_count_with_the_next_look() -> None:
    world = World()
    async with opened(10, world) as one, opened(10, world) as other, open_background() as nursery:
        for place in (one, other):
            nursery.start_soon(place.backlog.watch, 1.0)
        assert await one.accepted(9) == 9
        assert await other.accepted(1) == 1
        await trio.sleep(1.5)
        assert [await one.accepted(1), await other.accepted(1)] == [0, 0]


async def test_an_idle_node_does_not_count_over_and_over() -> None:
    async with opened(10) as place, open_background() as nursery:
        nursery.start_soon(place.backlog.watch, 1.0)
        await trio.sleep(100.5)
        assert place.world.weather.calls.count("jobs.waiting") == 1
        await place.accepted(1)
        await trio.sleep(10.0)
        assert place.world.weather.calls.count("jobs.waiting") == 11


async def test_what_takes_long_to_count_is_counted_less_often() -> None:
    async with opened(10) as place, open_background() as nursery:

        async def slow(call: str, when: str) -> None:
            if (call, when) == ("jobs.waiting", "after"):
                await trio.sleep(0.5)

        place.world.weather.hook = slow
        await place.accepted(1)
        nursery.start_soon(place.backlog.watch, 1.0)
        await trio.sleep(100.0)
        assert place.world.weather.calls.count("jobs.waiting") == 4


async def test_counts_that_are_unknown_are_as_they_were() -> None:
    async with opened(1) as place, open_background() as nursery:
        await place.accepted(1)
        place.world.weather.away("queue", 100.0)
        nursery.start_soon(place.backlog.watch, 1.0)
        await trio.sleep(50.0)
        assert await place.accepted(1) == 0
        place.world.queue.messages.clear()
        await place.service.cancel(next(iter(place.world.jobs.records)))
        await trio.sleep(60.0)
        assert await place.accepted(1) == 1


CELLS = st.dictionaries(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz")), st.integers(0, 40), max_size=18)


@given(
    CELLS,
    st.frozensets(st.sampled_from("abc")),
    st.integers(1, 60),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("uvwxyz"), st.integers(-3, 5)), max_size=30),
)
def test_sums_that_are_kept_are_those_of_a_walk(
    cells: dict[tuple[str, str], int], held: frozenset[str], most: int, changes: list[tuple[str, str, int]]
) -> None:
    policy = BacklogPolicy(most)
    tally, there = _Tally(cells, held, policy), Counter(cells)
    for report_type, user_id, count in changes:
        tally.add((report_type, user_id), count)
        there[report_type, user_id] = max(0, there[report_type, user_id] + count)
    there = +there
    for report_type in "abc":
        for user_id in "uvwxyz":
            found = tally.waiting(report_type, user_id, 0)
            mine = {
                c: n for c, n in there.items() if (c[0] == report_type if report_type in held else c[0] not in held)
            }
            users, types = Counter[str](), Counter[str]()
            for (_, user), count in mine.items():
                users[user] += count
            for (kind, _), count in there.items() if report_type in held else mine.items():
                types[kind] += count
            assert (found.of_type, found.types) == (types[report_type], len({*types, report_type}))
            assert (found.of_user, found.users) == (users[user_id], len({*users, user_id}))
            if report_type not in held:
                excess = max(
                    sum_excess(types.values(), policy.of_type(found.types)),
                    sum_excess(users.values(), policy.of_user(found.users)),
                )
                assert found.counted == users.total() - excess


# --- reporting refusals -------------------------------------------------------------------------------------


async def test_a_refusal_is_counted_and_logged_once_in_a_while_for_each_reason() -> None:
    with structlog.testing.capture_logs() as logs:
        async with opened(2) as place:
            await place.accepted(5)
            await place.accepted(1, "other", BEN)
            await place.accepted(5)
            place.world.weather.fail("queue.send", UnavailableError("queue", "away"))
            place.held.update(["report", "other"])
            with pytest.raises(UnavailableError):
                await place.service.submit(Submission("third", {}, ANN))
            counted = samples(place.metrics.exposition())
    told = [(line["reason"], line["reportType"]) for line in logs if line["event"] == "submission.refused"]
    assert told == [(Limit.BACKLOG, "report"), (Limit.REPORT_TYPE, "report"), ("unavailable", "third")]
    name = "reportd_submissions_refused_total"
    assert counted[name, ("reason", "backlog"), ("report_type", "report")] == 3
    assert counted[name, ("reason", "report_type"), ("report_type", "report")] == 5
    assert counted[name, ("reason", "unavailable"), ("report_type", "other")] == 1
    assert counted[name, ("reason", "user"), ("report_type", "report")] == 0


async def test_a_refusal_names_the_limit_and_its_key() -> None:
    async with opened(4) as place:
        await place.accepted(1, "other", BEN)
        await place.accepted(2, "report", ANN)
        with pytest.raises(BusyError, match=r"2 jobs of report .* 2 .*\(queue\.max_type_share\)$"):
            await place.service.submit(Submission("report", {}, USER))
        place.held.add("report")
        with pytest.raises(BusyError, match=r"\(queue\.max_type_share\).*breaker of report is open"):
            await place.service.submit(Submission("report", {}, USER))
