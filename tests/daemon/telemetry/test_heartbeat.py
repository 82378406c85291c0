"""Heartbeats: each node reports, and reads those of the others."""

from typing import Any

import orjson
import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.status.snapshot import BrowserView, Figures, Node
from reportd.ports import Heartbeat
from reportd.telemetry.heartbeat import (
    GONE_SECONDS,
    LATE_SECONDS,
    SIGN_SECONDS,
    HeartbeatReporter,
    all_nodes,
    as_document,
)
from tests.fakes import Weather
from tests.fakes.fleet import MemoryFleet

pytestmark = pytest.mark.usefixtures("autojump_clock")

BROWSERS = (BrowserView(7, 12, 1, 210, retiring=True),)
NODE = Node("n2", 1e9, slots=4, busy=3, held=5, lost=1, browsers=BROWSERS, figures={"sales": Figures(3.0, 1, 9)})
HERE = Node("n1", slots=2)


def seen(age_seconds: float, what: Any, node: str = "n2") -> Node:
    """Return the node as read back from the database."""
    sign = Heartbeat(node, 1e9, age_seconds, orjson.loads(orjson.dumps(what)))
    here, other = all_nodes([sign], HERE)
    assert here == HERE
    return other


def test_a_node_is_seen_as_it_told() -> None:
    assert seen(1.0, as_document(NODE)) == NODE


def test_a_sign_that_is_late_says_when_it_was() -> None:
    assert seen(LATE_SECONDS, as_document(NODE)).seen_at is None
    late = seen(LATE_SECONDS + 1, as_document(NODE))
    assert (late.seen_at, late.gone) == (1e9, False)
    gone = seen(GONE_SECONDS + 1, as_document(NODE))
    assert (gone.seen_at, gone.gone) == (1e9, True)


def test_this_node_is_as_it_is_and_comes_first() -> None:
    signs = [Heartbeat(name, 1e9, 0.0, {"slots": 99}) for name in ("a", "n1", "z")]
    assert [(node.name, node.slots) for node in all_nodes(signs, HERE)] == [("n1", 2), ("a", 99), ("z", 99)]


def test_another_version_of_the_daemon_is_understood_as_far_as_can_be() -> None:
    assert seen(1.0, {}) == Node("n2", figures={})
    newer = {"name": "x", "slots": 3, "mood": "good", "browsers": [{"pid": 1, "colour": "red"}]}
    assert seen(1.0, newer) == Node("n2")
    for strange in ({"browsers": 3}, {"browsers": [3]}, {"figures": [3]}, {"figures": {"sales": 3}}):
        assert seen(1.0, strange) == Node("n2")


async def test_a_node_gives_signs_and_leaves() -> None:
    fleet = MemoryFleet()
    async with open_background() as nursery:
        nursery.start_soon(HeartbeatReporter(fleet, lambda: NODE).run)
        for _ in range(3):
            await trio.sleep(SIGN_SECONDS)
            (sign,) = await fleet.heartbeats()
            assert (sign.node, sign.age_seconds <= SIGN_SECONDS, sign.told) == ("n2", True, as_document(NODE))
    assert await fleet.heartbeats() == []


async def test_a_node_that_died_is_forgotten_by_the_others() -> None:
    fleet = MemoryFleet()
    await fleet.report("dead", {})
    async with open_background() as nursery:
        nursery.start_soon(HeartbeatReporter(fleet, lambda: NODE).run)
        await trio.sleep(600.0)
        assert [sign.node for sign in await fleet.heartbeats()] == ["dead", "n2"]
        await trio.sleep(600.0)
        assert [sign.node for sign in await fleet.heartbeats()] == ["n2"]


async def test_whoever_shared_a_database_that_is_this_node_s_alone_is_dead() -> None:
    fleet = MemoryFleet()
    await fleet.report("killed", {})
    await trio.sleep(1.0)
    async with open_background() as nursery:
        nursery.start_soon(HeartbeatReporter(fleet, lambda: NODE, single_node=True).run)
        for _ in range(3):
            await trio.sleep(SIGN_SECONDS - 1.0)
            assert [sign.node for sign in await fleet.heartbeats()] == ["n2"]


async def test_a_database_that_is_away_keeps_no_node_from_ending() -> None:
    weather = Weather()
    fleet = MemoryFleet(weather)
    async with open_background() as nursery:
        nursery.start_soon(HeartbeatReporter(fleet, lambda: NODE).run)
        await trio.sleep(1.0)
        weather.away("fleet", 20.0)
        await trio.sleep(30.0)
        assert [sign.age_seconds < SIGN_SECONDS for sign in await fleet.heartbeats()] == [True]
        weather.away("fleet", 60.0)
    await trio.sleep(61.0)
    assert [sign.node for sign in await fleet.heartbeats()] == ["n2"], "it could not say that it left"
