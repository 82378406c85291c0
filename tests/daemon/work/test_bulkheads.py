"""No report type takes every slot, and a type in doubt takes one (I15)."""

import math
from collections.abc import Collection
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reportd.breakers.admission import DeferredError
from reportd.concurrency.nurseries import open_background
from reportd.work.bulkheads import MAX_DEFERRAL_SECONDS, MAX_OVERTAKEN, Bulkheads

pytestmark = pytest.mark.usefixtures("autojump_clock")


class FakeHealth:
    """Implements ``bulkheads.TypeHealth``."""

    def __init__(self) -> None:
        self.suspects: set[str] = set()
        self.at_rest: set[str] = set()
        self.probed: set[str] = set()

    def failing(self, report_type: str) -> bool:
        return report_type in self.suspects | self.probed

    def resting(self) -> Collection[str]:
        return self.at_rest

    def probing(self) -> Collection[str]:
        return self.probed


class Crowd:
    """Jobs of some types, each rendered until ``end``."""

    def __init__(self, bulkheads: Bulkheads, nursery: trio.Nursery) -> None:
        self.running: list[str] = []
        self.defer: list[float] = []
        self._bulkheads = bulkheads
        self._nursery = nursery
        self._ends: list[tuple[str, trio.Event]] = []

    async def come(self, report_type: str, number: int = 1, *, timed_out_before: bool = False) -> None:
        for _ in range(number):
            self._nursery.start_soon(partial(self._run, report_type, timed_out_before=timed_out_before))
        await wait_all_tasks_blocked()

    async def end(self, report_type: str) -> None:
        place = next(place for place in self._ends if place[0] == report_type)
        self._ends.remove(place)
        place[1].set()
        await wait_all_tasks_blocked()

    async def _run(self, report_type: str, *, timed_out_before: bool) -> None:
        try:
            async with self._bulkheads.enter(report_type, timed_out_before=timed_out_before) as turn:
                await turn.wait()
                self.running.append(report_type)
                end = trio.Event()
                self._ends.append((report_type, end))
                await end.wait()
                self.running.remove(report_type)
        except DeferredError as rest:
            self.defer.append(round(rest.seconds, 1))


def bulkheads_of(
    health: FakeHealth, slots: int = 4, *, proved: bool = True, spare: int = 10, **limits: int
) -> Bulkheads:
    bulkheads = Bulkheads(limits, lambda: slots, 2.0, health, spare)
    if proved:
        for name in limits:
            bulkheads.succeeded(name, 1.0)
    return bulkheads


async def test_no_more_of_a_type_at_once_than_it_may_have() -> None:
    bulkheads = bulkheads_of(FakeHealth(), slow=2, free=0)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("slow", 4)
        await crowd.come("free", 9)
        assert crowd.running.count("slow") == 2
        assert crowd.running.count("free") == 9
        assert bulkheads.at_most() == {"slow": 0}
        await crowd.end("slow")
        assert crowd.running.count("slow") == 2
        assert bulkheads.at_most() == {"slow": 1}


def test_only_what_the_breakers_say_changes_by_itself() -> None:
    health = FakeHealth()
    bulkheads = bulkheads_of(health, good=2, other=0)
    assert not bulkheads.limits_drift()
    for doubtful in (health.suspects, health.at_rest, health.probed):
        doubtful.add("good")
        assert bulkheads.limits_drift()
        doubtful.clear()


async def test_more_slots_are_more_places_for_a_type_that_has_to_prove_itself() -> None:
    slots, changes = 4, 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    bulkheads = Bulkheads({"good": 0, "new": 0}, lambda: slots, 2.0, FakeHealth(), 10)
    bulkheads.succeeded("good", 1.0)
    bulkheads.on_change = changed
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("new", 4)
        assert (len(crowd.running), bulkheads.at_most()) == (2, {"new": 0})
        slots = 8
        bulkheads.recheck()
        await wait_all_tasks_blocked()
        assert (len(crowd.running), bulkheads.at_most(), changes) == (4, {"new": 4}, 1)


def test_a_type_that_is_new_in_the_configuration_is_received_within_its_limit() -> None:
    limits = {"good": 0}
    bulkheads = Bulkheads(limits, lambda: 8, 2.0, FakeHealth(), 10)
    limits["new"] = 1
    bulkheads.recheck()
    assert bulkheads.at_most() == {"new": 2}


async def test_what_is_too_much_is_put_off_at_the_pace_at_which_it_can_be_rendered() -> None:
    bulkheads = bulkheads_of(FakeHealth(), slow=2)
    for _ in range(60):
        bulkheads.succeeded("slow", 10.0)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("slow", 7)
        assert crowd.running == ["slow", "slow"]
        assert crowd.defer == [5.0, 10.0, 15.0]
        await crowd.come("slow", 50)
        assert max(crowd.defer) == MAX_DEFERRAL_SECONDS


async def test_a_type_that_failed_gets_one_place_until_it_succeeds() -> None:
    health = FakeHealth()
    bulkheads = bulkheads_of(health, good=0)
    health.suspects.add("good")
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        assert bulkheads.at_most() == {"good": 2}
        await crowd.come("good", 2)
        assert (crowd.running, bulkheads.at_most()) == (["good"], {"good": 0})
        health.suspects.clear()
        bulkheads.succeeded("good", 1.0)
        await crowd.end("good")
        await crowd.come("good", 3)
        assert (len(crowd.running), bulkheads.at_most()) == (4, {})


async def test_of_a_type_that_is_to_be_probed_one_is_received_and_of_one_that_rests_none() -> None:
    health = FakeHealth()
    bulkheads = bulkheads_of(health, one=0, other=0)
    health.probed.add("one")
    health.at_rest.add("other")
    assert bulkheads.at_most() == {"one": 1, "other": 0}
    async with open_background() as nursery:
        await Crowd(bulkheads, nursery).come("one")
        assert bulkheads.at_most() == {"one": 0, "other": 0}


@pytest.mark.parametrize(("slots", "most"), [(1, 1), (2, 1), (4, 2), (9, 4)])
async def test_a_type_that_never_was_rendered_leaves_half_of_the_slots_to_those_that_were(
    slots: int, most: int
) -> None:
    bulkheads = bulkheads_of(FakeHealth(), slots, proved=False, new=0, old=0)
    assert bulkheads.limit("new") == math.inf
    bulkheads.succeeded("old", 1.0)
    assert (bulkheads.limit("new"), bulkheads.limit("old")) == (most, math.inf)
    assert bulkheads.at_most() == {"new": 2 * most}
    bulkheads.succeeded("new", 1.0)
    assert bulkheads.limit("new") == math.inf


async def test_while_pages_of_a_type_wait_it_is_trusted_once_one_that_took_long_has_succeeded() -> None:
    bulkheads = bulkheads_of(FakeHealth(), slow=0)
    bulkheads.succeeded("slow", 1.0)
    heard: list[float] = []
    bulkheads.on_change = lambda: heard.append(bulkheads.limit("slow"))
    bulkheads.stalled("slow", 1)
    bulkheads.succeeded("slow", 1.9)
    assert bulkheads.limit("slow") == 1
    bulkheads.succeeded("slow", 2.0)
    assert heard == [1, math.inf]
    bulkheads.stalled("slow", 1)
    assert bulkheads.limit("slow") == math.inf


async def test_jobs_that_timed_out_have_one_place_together_whatever_their_type() -> None:
    bulkheads = bulkheads_of(FakeHealth(), one=0, other=0)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("one", timed_out_before=True)
        await crowd.come("other", timed_out_before=True)
        await crowd.come("other", timed_out_before=True)
        assert (crowd.running, len(crowd.defer)) == (["one"], 1)
        await crowd.come("one", 3)
        assert crowd.running == ["one"] * 4
        await crowd.end("one")
        assert crowd.running.count("other") == 1


async def test_who_waits_for_the_place_of_those_that_timed_out_leaves_its_types_place_to_others() -> None:
    """It used to hold its type's only permit meanwhile, so healthy jobs of its type waited for a type that hangs."""
    bulkheads = bulkheads_of(FakeHealth(), hanging=0, healthy=1)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("hanging", timed_out_before=True)
        await crowd.come("healthy", timed_out_before=True)
        for _ in range(8):
            await crowd.come("healthy")
            assert crowd.running == ["hanging", "healthy"]
            await crowd.end("healthy")
        await crowd.end("hanging")
        assert (crowd.running, crowd.defer) == (["healthy"], [])


async def test_no_more_wait_for_their_types_than_there_are_places_to_spare() -> None:
    bulkheads = bulkheads_of(FakeHealth(), one=1, other=2, spare=2)
    assert bulkheads.at_most() == {"one": 2, "other": 3}
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("one", 2)
        assert bulkheads.at_most() == {"one": 0, "other": 3}
        await crowd.come("other", 4)
        assert (len(crowd.running), crowd.defer, bulkheads.at_most()) == (3, [0.5], {"one": 0, "other": 0})
        await crowd.end("one")
        assert bulkheads.at_most() == {"one": 1, "other": 0}


async def test_a_job_that_timed_out_waits_for_no_other_where_there_is_no_place_to_spare() -> None:
    bulkheads = bulkheads_of(FakeHealth(), one=0, other=0, spare=0)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("one", timed_out_before=True)
        await crowd.come("other", timed_out_before=True)
        assert (crowd.running, crowd.defer) == (["one"], [1.0])


async def test_of_those_that_timed_out_none_is_overtaken_for_ever() -> None:
    """Its two permits are never free at the same moment, so after some time the shared one is reserved for it."""
    bulkheads = bulkheads_of(FakeHealth(), busy=1, other=0)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("busy")
        await crowd.come("busy", timed_out_before=True)
        for _ in range(MAX_OVERTAKEN):
            await crowd.come("other", timed_out_before=True)
            await crowd.end("other")
        await crowd.come("other", timed_out_before=True)
        assert crowd.running == ["busy"]
        await crowd.end("busy")
        assert crowd.running == ["busy"]
        await crowd.end("busy")
        assert (crowd.running, crowd.defer) == (["other"], [])


async def test_who_is_cancelled_while_he_waits_leaves_no_trace() -> None:
    bulkheads = bulkheads_of(FakeHealth(), slow=1)
    async with open_background() as nursery:
        crowd = Crowd(bulkheads, nursery)
        await crowd.come("slow")
        with trio.move_on_after(1.0):
            async with bulkheads.enter("slow") as turn:
                await turn.wait()
        assert bulkheads.at_most() == {"slow": 1}
        await crowd.end("slow")
        await crowd.come("slow")
        assert crowd.running == ["slow"]
