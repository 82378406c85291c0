"""People get one alert per cause and window, and no part of the daemon waits for that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.alerts.incidents import GATHER_SECONDS, LEASE_SECONDS
from reportd.core.breaker.breaker import BreakerEvent, BreakerState, Transition
from reportd.notify.alerts import MAX_CAUSES, TIMEOUT_SECONDS, Alerts
from reportd.ports import DeadLetter, LetterStatus
from tests.fakes import Weather, now
from tests.fakes.alerts import FakeChannel, MemoryAlerts

pytestmark = pytest.mark.usefixtures("autojump_clock")

WINDOW = 900.0


class Stage:
    """A store and channels that several nodes may share."""

    def __init__(self) -> None:
        self.weather = Weather()
        self.store = MemoryAlerts(self.weather)
        self.channel = FakeChannel()

    def alerts(self, *channels: FakeChannel) -> Alerts:
        return Alerts(self.store, channels or [self.channel], window_seconds=WINDOW, chance=lambda: 0.5)

    @asynccontextmanager
    async def node(self, *channels: FakeChannel) -> AsyncIterator[Alerts]:
        alerts = self.alerts(*channels)
        async with open_background() as nursery:
            nursery.start_soon(alerts.run)
            yield alerts


@pytest.fixture
def stage() -> Stage:
    return Stage()


def quarantine(alerts: Alerts, cause: str = "no chart") -> None:
    at = now()
    alerts.quarantined(
        DeadLetter(
            id="letter",
            task_id=None,
            signature=f"script_error:{cause}",
            report_type="sales",
            kind="script_error",
            detail=f"script_error: {cause}",
            cause=cause,
            standing=LetterStatus.QUARANTINED,
            reason="trying again can't help",
            first_seen_at=at,
            last_seen_at=at,
            body="",
        )
    )


def moved(source: BreakerState, target: BreakerState) -> Transition:
    return Transition("sales", source, BreakerEvent.TRIPPED, target, now(), "timeout", (), "node")


async def test_five_thousand_failures_of_five_causes_are_five_alerts(stage: Stage) -> None:
    async with stage.node() as one, stage.node() as other:
        for number in range(5000):
            quarantine((one, other)[number % 2], f"cause {number % 5}")
            if number % 100 == 0:
                await trio.sleep(0.01)
        await trio.sleep(60)
        assert sorted(notice.incident.untold for notice in stage.channel.alerts) == [1000] * 5
        assert len({notice.signature for notice in stage.channel.alerts}) == 5
        await trio.sleep(2 * WINDOW)
        assert (len(stage.channel.alerts), len(stage.channel.recoveries)) == (5, 5)
        await trio.sleep(2 * WINDOW)
    assert not stage.store.incidents, "nothing is kept for ever"


async def test_at_most_one_alert_per_cause_and_window_while_it_goes_on(stage: Stage) -> None:
    async with stage.node() as one, stage.node() as other:
        for number in range(5000):
            quarantine((one, other)[number % 2], f"cause {number % 5}")
            await trio.sleep(1.0)
        alerts = len(stage.channel.alerts)
        await trio.sleep(3 * WINDOW)
    assert alerts <= 5 * (1 + 5000 / WINDOW)
    assert sum(notice.incident.untold for notice in stage.channel.alerts) == 5000
    assert len(stage.channel.recoveries) == 5


async def test_the_first_alert_does_not_wait_long(stage: Stage) -> None:
    async with stage.node() as alerts:
        await trio.sleep(33.3)
        quarantine(alerts)
        await trio.sleep(GATHER_SECONDS + 0.1)
        assert len(stage.channel.alerts) == 1


async def test_a_breaker_that_opens_and_closes(stage: Stage) -> None:
    async with stage.node() as alerts:
        alerts.breaker_moved(moved(BreakerState.CLOSED, BreakerState.OPEN))
        for _ in range(100):
            await trio.sleep(60)
            alerts.breaker_moved(moved(BreakerState.OPEN, BreakerState.HALF_OPEN))
            alerts.breaker_moved(moved(BreakerState.HALF_OPEN, BreakerState.OPEN))
        assert (len(stage.channel.alerts), len(stage.channel.recoveries)) == (1, 0)
        alerts.breaker_moved(moved(BreakerState.OPEN, BreakerState.HALF_OPEN))
        alerts.breaker_moved(moved(BreakerState.HALF_OPEN, BreakerState.CLOSED))
        await trio.sleep(1)
        assert (len(stage.channel.alerts), len(stage.channel.recoveries)) == (1, 1)


async def test_openings_and_closings_before_they_are_written_down(stage: Stage) -> None:
    """The last state counts, and every opening."""
    alerts = stage.alerts()
    for _ in range(3):
        alerts.breaker_moved(moved(BreakerState.CLOSED, BreakerState.FORCED_OPEN))
        alerts.breaker_moved(moved(BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED))
    alerts.breaker_moved(moved(BreakerState.CLOSED, BreakerState.OPEN))
    async with open_background() as nursery:
        nursery.start_soon(alerts.run)
        await trio.sleep(20)
    (notice,) = stage.channel.alerts
    assert (notice.incident.untold, notice.incident.over) == (4, False)


# --- no delays ----------------------------------------------------------------------------------------------


async def test_without_channels_nothing_is_kept(stage: Stage) -> None:
    alerts = Alerts(stage.store, [], window_seconds=WINDOW)
    async with open_background() as nursery:
        nursery.start_soon(alerts.run)
        quarantine(alerts)
        await trio.sleep(600)
    assert not stage.weather.calls


async def test_to_tell_waits_for_nothing_and_holds_little(stage: Stage) -> None:
    """The store is unavailable for an hour, while thousands of causes raise alarms."""
    stage.weather.away("alerts", 3600)
    async with stage.node() as alerts:
        for number in range(20_000):
            quarantine(alerts, str(number))
            if number == 10_000:
                await trio.sleep(1)
        assert len(alerts._unstored) <= MAX_CAUSES
        assert alerts.dropped >= 20_000 - 2 * MAX_CAUSES
        await trio.sleep(3700)
    assert sum(notice.incident.untold for notice in stage.channel.alerts) == 20_000 - alerts.dropped


@pytest.mark.parametrize("what", ["fail", "hang", "break"])
async def test_a_dead_channel_holds_up_no_other(stage: Stage, what: str) -> None:
    dead, well = FakeChannel("webhook", what), FakeChannel("slack")
    async with stage.node(dead, well) as alerts:
        for number in range(5):
            quarantine(alerts, f"cause {number}")
        await trio.sleep(GATHER_SECONDS + 0.1)
        assert len(well.alerts) == 5
        await trio.sleep(3 * WINDOW)
        assert (len(well.alerts), len(well.recoveries)) == (5, 5)
        assert len(dead.tried) < 250, "at growing intervals"
        dead.what = "ok"
        await trio.sleep(600)
    assert len(dead.alerts) == 5, "late, but told"
    assert all(notice.incident.over for notice in dead.alerts)


async def test_a_channel_that_fails_for_a_while_hears_it_all_in_one(stage: Stage) -> None:
    stage.channel.what = "fail"
    async with stage.node() as alerts:
        for _ in range(60):
            quarantine(alerts)
            await trio.sleep(1)
        stage.channel.what = "ok"
        await trio.sleep(120)
    (notice,) = stage.channel.alerts
    assert notice.incident.untold == 60
    assert len({notice.notice_id for _, notice in stage.channel.tried}) == 1


async def test_an_idle_node_hardly_looks(stage: Stage) -> None:
    async with stage.node():
        await trio.sleep(600)
    assert stage.weather.calls.count("alerts.due") <= 62


# --- several nodes, shutdown --------------------------------------------------------------------------------


async def test_what_a_killed_node_was_about_to_tell_is_told_by_another(stage: Stage) -> None:
    hanging = FakeChannel(what="hang")
    async with stage.node(hanging) as alerts:
        quarantine(alerts)
        await trio.sleep(GATHER_SECONDS + TIMEOUT_SECONDS / 2)
        assert len(hanging.tried) == 1
    async with stage.node():
        await trio.sleep(LEASE_SECONDS + 11)
    (notice,) = stage.channel.alerts
    assert notice.notice_id == hanging.tried[0][1].notice_id


@pytest.mark.parametrize("call", ["alerts.change", "alerts.due"])
async def test_a_store_that_fails(stage: Stage, call: str) -> None:
    async with stage.node() as alerts:
        stage.weather.fail(call, RuntimeError("on purpose"))
        quarantine(alerts, "one")
        await trio.sleep(1)
        quarantine(alerts, "other")
        await trio.sleep(60)
    assert "script_error:other" in [notice.signature for notice in stage.channel.alerts]


async def test_a_store_that_is_away_for_a_while(stage: Stage) -> None:
    async with stage.node() as alerts:
        quarantine(alerts)
        await trio.sleep(GATHER_SECONDS / 2)
        stage.weather.away("alerts", 300)
        await trio.sleep(300)
        assert not stage.channel.tried
        await trio.sleep(20)
    assert len(stage.channel.alerts) == 1


async def test_no_secret_is_logged(stage: Stage, capsys: Any) -> None:
    stage.channel.what = "break"
    async with stage.node() as alerts:
        quarantine(alerts)
        await trio.sleep(60)
    written = "".join(capsys.readouterr())
    assert "alert.not_sent" in written
    assert "s3cret" not in written
