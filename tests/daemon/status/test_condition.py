"""The condition of an outside part: set by its uses, probed at the start and in trouble, otherwise left alone."""

import pytest
import trio

from reportd.ports import UnavailableError
from reportd.status.condition import PATIENCE_SECONDS, PROBE_SECONDS, Condition

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Part:
    def __init__(self) -> None:
        self.away = ""
        self.hangs = False
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if self.hangs:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        if self.away:
            raise UnavailableError("part", self.away)


async def test_trouble_from_before_the_start_is_told_at_once_and_ends_without_any_use() -> None:
    part = Part()
    part.away = "there is no bucket"
    condition = Condition("part", part.probe)
    await condition.look()
    assert condition.trouble == "part: there is no bucket"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(condition.run)
        await trio.sleep(60.0)
        assert condition.trouble
        part.away = ""
        await trio.sleep(2 * PROBE_SECONDS)
        assert not condition.trouble
        nursery.cancel_scope.cancel()


async def test_a_part_that_is_well_is_left_alone() -> None:
    part = Part()
    condition = Condition("part", part.probe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(condition.run)
        await trio.sleep(3600.0)
        assert part.probes == 0
        nursery.cancel_scope.cancel()


async def test_reads_and_writes_are_told_apart_and_a_use_that_works_is_no_probe() -> None:
    part = Part()
    part.away = "the role lacks a right"
    condition = Condition("part", part.probe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(condition.run)
        condition.failed("writes", "part: it is full")
        condition.failed("reads", "part: it is slow")
        assert condition.trouble == "part: it is full; part: it is slow"
        await trio.sleep(10 * PROBE_SECONDS)
        assert "the role lacks a right" in condition.trouble
        nursery.cancel_scope.cancel()


async def test_a_use_that_fails_during_a_probe_counts_more_than_the_probe() -> None:
    async def probe() -> None:
        await trio.sleep(1.0)

    condition = Condition("part", probe)
    async with trio.open_nursery() as nursery:
        condition.failed("writes", "first")
        nursery.start_soon(condition.look)
        await trio.sleep(0.5)
        condition.failed("writes", "second")
        await trio.sleep(1.0)
        assert condition.trouble == "second"
    await condition.look()
    assert not condition.trouble


async def test_a_probe_that_hangs_is_trouble_in_time() -> None:
    part = Part()
    part.hangs = True
    condition = Condition("part", part.probe)
    begun = trio.current_time()
    await condition.look()
    assert trio.current_time() - begun <= PATIENCE_SECONDS + 0.001
    assert "no answer" in condition.trouble


async def test_a_probe_that_is_less_than_a_use_waits_for_calm() -> None:
    condition = Condition("part", trio.lowlevel.checkpoint, calm_seconds=10.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(condition.run)
        condition.failed("writes", "refused")
        await trio.sleep(8.0)
        assert condition.trouble
        await trio.sleep(2 * PROBE_SECONDS + 1.0)
        assert not condition.trouble
        nursery.cancel_scope.cancel()
