"""The line of ``systemctl status``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.browsers.pool import PoolSettings, open_pool
from reportd.concurrency.nurseries import open_background
from reportd.core.breaker.breaker import BreakerEvent, BreakerPolicy, Command
from reportd.status.systemd_status import LOOK_SECONDS, StatusLine, report_status
from reportd.work.in_flight import InFlightTask
from tests.daemon.node import Node, World
from tests.fakes import FakeLauncher

pytestmark = pytest.mark.usefixtures("autojump_clock")

WELL = "serving http://here, 0 of 2 slots busy, 0 jobs in hand"


class Daemon:
    def __init__(self, standing: StatusLine, node: Node, breakers: Breakers, stop: trio.Event) -> None:
        self.standing = standing
        self.node = node
        self.breakers = breakers
        self.stop = stop
        self.reloaded = ""
        self.part_trouble: list[str] = []


@asynccontextmanager
async def open_daemon() -> AsyncIterator[Daemon]:
    node, stop = Node(World()), trio.Event()
    breakers = Breakers(MemoryBreakers(), BreakerPolicy(), node="node")
    async with open_pool(FakeLauncher(), PoolSettings()) as pool:
        standing = StatusLine(
            url="http://here",
            pool=pool,
            poller=node.poller,
            part_trouble=lambda: daemon.part_trouble,
            breakers=breakers,
            in_flight=node.in_flight,
            stop=stop,
            reloaded=lambda: daemon.reloaded,
        )
        daemon = Daemon(standing, node, breakers, stop)
        yield daemon


async def test_what_it_does() -> None:
    async with open_daemon() as daemon:
        assert daemon.standing.line() == WELL
        daemon.node.in_flight.add(InFlightTask("t-1", ["r"], 1))
        assert daemon.standing.line() == WELL.replace("0 jobs", "1 job")
        await daemon.breakers.command("sales", Command("ada", BreakerEvent.FORCED_OPEN, "its database moves"))
        assert daemon.standing.line().endswith("1 job in hand, held by breakers: sales")


async def test_what_troubles_it() -> None:
    async with open_daemon() as daemon:
        daemon.node.poller.trouble = "the queue does not answer"
        daemon.part_trouble = ["", "the disk is full"]
        daemon.reloaded = "the previous tokens stay in force"
        assert daemon.standing.line() == (
            f"{WELL}; the queue does not answer; the disk is full; the previous tokens stay in force"
        )


async def test_when_it_stops() -> None:
    async with open_daemon() as daemon:
        daemon.node.in_flight.add(InFlightTask("t-1", ["r"], 1))
        daemon.stop.set()
        assert daemon.standing.line() == "draining: 1 job in hand"


async def test_it_is_told_when_it_has_changed_and_in_one_line() -> None:
    told: list[tuple[float, str]] = []
    line = "a"

    def notify(text: str) -> bool:
        told.append((trio.current_time() - begun, text))
        return True

    begun = trio.current_time()
    async with open_background() as background:
        background.start_soon(report_status, lambda: line, notify)
        await trio.sleep(10.5 * LOOK_SECONDS)
        line = "b\nREADY=0"
        await trio.sleep(5 * LOOK_SECONDS)
    assert told == [(0.0, "STATUS=a"), (11 * LOOK_SECONDS, "STATUS=b READY=0")]


async def test_a_systemd_that_is_away_is_told_later() -> None:
    told: list[str] = []

    def notify(text: str) -> bool:
        there = trio.current_time() - begun >= 3 * LOOK_SECONDS
        told.extend([text] * there)
        return there

    begun = trio.current_time()
    async with open_background() as background:
        background.start_soon(report_status, lambda: "a", notify)
        await trio.sleep(10 * LOOK_SECONDS)
    assert told == ["STATUS=a"]
