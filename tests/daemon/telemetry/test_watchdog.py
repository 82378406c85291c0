"""The watchdog detects a blocked event loop, reports it, and stops notifying systemd."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.ports import Meter
from reportd.system import sd_notify
from reportd.telemetry.watchdog import LIMIT_SECONDS, MEMORY_SECONDS, TICK_SECONDS, Watchdog, open_watchdog
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Lags(Meter):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def loop_lag(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Systemd:
    """Records notifications and their times."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def notify(self, line: str) -> None:
        assert line == "WATCHDOG=1"
        self.heard.append(trio.current_time())

    def longest_silence(self) -> float:
        return max(after - before for before, after in zip(self.heard, self.heard[1:], strict=False))


async def test_a_loop_that_turns_is_healthy_and_its_lag_is_measured_all_the_time() -> None:
    meter = Lags()
    async with open_background() as nursery:
        watchdog = Watchdog(meter, Systemd().notify, None)
        nursery.start_soon(watchdog.run)
        for _ in range(100):
            await trio.sleep(0.3)
            assert watchdog.trouble() == ""
    assert len(meter.seconds) == pytest.approx(30.0 / TICK_SECONDS, abs=1)
    assert max(meter.seconds) < 0.001


async def test_a_loop_that_stood_still_is_unhealthy_for_a_while_and_says_why(autojump_clock: MockClock) -> None:
    meter = Lags()
    async with open_background() as nursery:
        watchdog = Watchdog(meter, Systemd().notify, None)
        nursery.start_soon(watchdog.run)
        await trio.sleep(10.1)
        autojump_clock.jump(10.0)  # blocks the loop, like a task that computes
        assert mentions(watchdog.trouble(), "event loop", "for 10.1 s")
        await trio.sleep(0.1)
        assert mentions(watchdog.trouble(), "event loop", "for 9.6 s", "until ")
        assert max(meter.seconds) == pytest.approx(9.6)
        await trio.sleep(MEMORY_SECONDS + TICK_SECONDS)
        assert watchdog.trouble() == ""


async def test_a_pause_below_the_limit_is_only_measured(autojump_clock: MockClock) -> None:
    meter = Lags()
    async with open_background() as nursery:
        watchdog = Watchdog(meter, Systemd().notify, None)
        nursery.start_soon(watchdog.run)
        await trio.sleep(10.1)
        autojump_clock.jump(LIMIT_SECONDS - TICK_SECONDS)
        assert watchdog.trouble() == ""
        await trio.sleep(0.1)
        assert watchdog.trouble() == ""
        assert max(meter.seconds) > 3.0


@pytest.mark.parametrize("limit_seconds", [0.4, 10.0, 60.0])
async def test_systemd_hears_often_enough_while_the_loop_turns(limit_seconds: float) -> None:
    init = Systemd()
    async with open_background() as nursery:
        nursery.start_soon(Watchdog(Lags(), init.notify, limit_seconds / 2).run)
        await trio.sleep(10 * limit_seconds)
    assert init.longest_silence() < 0.7 * limit_seconds
    assert len(init.heard) <= 21, "it is told more often than it wants"


async def test_systemd_hears_nothing_for_as_long_as_the_loop_stands_still(autojump_clock: MockClock) -> None:
    init = Systemd()
    async with open_background() as nursery:
        nursery.start_soon(Watchdog(Lags(), init.notify, 5.0).run)
        await trio.sleep(30.6)
        assert trio.current_time() - init.heard[-1] < 5.0
        autojump_clock.jump(10.0)
        await trio.sleep(20.0)
    assert init.longest_silence() > 10.0


async def test_the_first_turn_after_a_standstill_is_not_yet_a_sign_of_life(autojump_clock: MockClock) -> None:
    init = Systemd()
    async with open_background() as nursery:
        nursery.start_soon(Watchdog(Lags(), init.notify, 5.0).run)
        await trio.sleep(30.6)
        heard = len(init.heard)
        autojump_clock.jump(8.0)
        await trio.sleep(TICK_SECONDS / 2)
        assert len(init.heard) == heard
        await trio.sleep(TICK_SECONDS)
        assert len(init.heard) == heard + 1


# --- the protocol -------------------------------------------------------------------------------------------


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield server


async def test_what_systemd_wants_is_taken_from_the_environment(
    notified: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    async with open_watchdog(Lags(), Supervisor()):
        await trio.sleep(8.0)
    heard = [notified.recv(100) for _ in range(4)]
    assert heard == [b"WATCHDOG=1"] * 4
    with pytest.raises(BlockingIOError):
        notified.recv(100)


async def test_without_being_asked_nobody_is_told(notified: socket.socket) -> None:
    async with open_watchdog(Lags(), Supervisor()):
        await trio.sleep(60.0)
    with pytest.raises(BlockingIOError):
        notified.recv(100)


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("10000000", "", 10.0),
        ("10000000", "own", 10.0),
        ("10000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("-5", "", None),
        ("ten", "", None),
        ("\u0661", "", None),
    ],
)
def test_watchdog_seconds(monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str, seconds: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setattr("os.getpid", lambda: 4711)
    monkeypatch.setenv("WATCHDOG_PID", "4711" if pid == "own" else pid)
    assert sd_notify.watchdog_seconds() == seconds


@pytest.mark.usefixtures("notified")
def test_a_systemd_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd_notify, "SEND_SECONDS", 0.05)
    sd_notify._client.cache_clear()
    sent = 0
    while sd_notify.notify("WATCHDOG=1"):
        sent += 1
        assert sent < 10_000, "it takes everything"
    assert sent
    sd_notify._client.cache_clear()


async def test_a_systemd_that_is_away_ends_nothing_and_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    supervisor = Supervisor()
    sd_notify._log.cache_clear()
    with capture_logs() as captured:
        async with open_watchdog(Lags(), supervisor):
            await trio.sleep(20.0)
    assert [entry["event"] for entry in captured] == ["systemd.unreachable"]
    assert not supervisor.troubles()
