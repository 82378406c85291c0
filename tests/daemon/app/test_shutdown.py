"""Signals that end the daemon: the meaning of each, and the timers that guarantee the end."""

import pytest
import trio
from structlog.testing import capture_logs

from reportd.adapters.chromium import browser
from reportd.app.shutdown import CUT_SECONDS, LAST_SECONDS, Stopping
from reportd.work.in_flight import InFlightTask, InFlightTasks
from reportd.work.poller import drain
from reportd_web.http import server

pytestmark = pytest.mark.usefixtures("autojump_clock")

DRAIN_SECONDS = 30.0


@pytest.fixture(autouse=True)
def last(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, bool]]:
    """Record when the process would be ended, and do not end it."""
    asked: list[tuple[float, bool]] = []
    monkeypatch.setattr(
        "faulthandler.dump_traceback_later",
        lambda seconds, *, exit: asked.append((seconds, exit)),  # noqa: A006
    )
    return asked


async def hang(scope: trio.CancelScope) -> float:
    begun = trio.current_time()
    with scope:
        await trio.sleep_forever()
    return trio.current_time() - begun


async def test_the_first_signal_gives_jobs_their_time(last: list[tuple[float, bool]]) -> None:
    stopping = Stopping(DRAIN_SECONDS, scope := trio.CancelScope())
    stopping.begun.set()
    stopping.signalled()
    assert (stopping.asked.is_set(), stopping.hurried.is_set()) == (True, False)
    assert last == [(DRAIN_SECONDS + LAST_SECONDS, True)]
    with capture_logs() as captured:
        assert await hang(scope) == pytest.approx(DRAIN_SECONDS + CUT_SECONDS)
    assert stopping.cut
    (told,) = captured
    assert told["event"] == "daemon.cut_off"
    assert any("test_the_first_signal_gives_jobs_their_time" in task for task in told["waitsFor"])


async def test_the_second_one_does_not(last: list[tuple[float, bool]]) -> None:
    stopping = Stopping(DRAIN_SECONDS, scope := trio.CancelScope())
    stopping.begun.set()
    for _ in range(3):  # and a third one changes nothing
        stopping.signalled()
    assert stopping.hurried.is_set()
    assert last[1:] == [(LAST_SECONDS, True)]
    assert await hang(scope) == pytest.approx(CUT_SECONDS)


async def test_a_start_is_called_off_at_once() -> None:
    stopping = Stopping(DRAIN_SECONDS, scope := trio.CancelScope())
    stopping.signalled()
    assert await hang(scope) == 0.0
    assert not stopping.cut


async def test_a_hurried_drain_waits_for_no_job(nursery: trio.Nursery) -> None:
    in_flight, hurried, ended = InFlightTasks(), trio.Event(), trio.Event()
    task = InFlightTask("task", ["receipt"])
    in_flight.add(task)

    async def work() -> None:
        with task.scope:
            await trio.sleep_forever()
        in_flight.remove(task)

    async def end() -> None:
        await drain(in_flight, DRAIN_SECONDS, hurried)
        ended.set()

    task.started = object()  # type: ignore[assignment]  # that it is something is all that counts
    nursery.start_soon(work)
    nursery.start_soon(end)
    await trio.sleep(5.0)
    assert not ended.is_set()
    hurried.set()
    await ended.wait()
    assert trio.current_time() == pytest.approx(5.0)


def test_what_ends_as_it_should_is_not_cut_off() -> None:
    """The slowest end: a request that is never completed, then a browser that must be killed."""
    assert server.GRACE_SECONDS + browser.CLOSE_SECONDS + 1.0 <= CUT_SECONDS
    assert CUT_SECONDS + browser.CLOSE_SECONDS <= LAST_SECONDS
