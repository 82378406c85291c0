"""Background work with unexpected exceptions: reported, retried with backoff, and cleared when it works."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from structlog.testing import capture_logs

from reportd.concurrency.supervisor import CALM_SECONDS, LONGEST_SECONDS, Supervisor
from reportd.ports import UnavailableError
from tests.fakes import now

pytestmark = pytest.mark.usefixtures("autojump_clock")

Work = Callable[[], Awaitable[None]]


class Failing:
    """Work that raises the given errors in turn, and then goes on."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.begun_at: list[float] = []

    async def __call__(self) -> None:
        self.begun_at.append(trio.current_time())
        if self.errors:
            raise self.errors.pop(0)
        await trio.sleep_forever()

    def pauses(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.begun_at, self.begun_at[1:], strict=False)]


async def test_it_is_told_with_its_cause_and_over_once_it_works(nursery: trio.Nursery) -> None:
    supervisor, work = Supervisor(now), Failing(ValueError("first\nsecret"), KeyError("second"))
    with capture_logs() as captured:
        nursery.start_soon(supervisor.keep, "part", work)
        await trio.sleep(0.1)
        (trouble,) = supervisor.troubles()
        assert (trouble.part, trouble.error, trouble.tries) == ("part", "ValueError: first", 1)
        await trio.sleep(0.5)
        (again,) = supervisor.troubles()
        assert (again.error, again.tries, again.since) == ("KeyError: 'second'", 2, trouble.since)
        assert supervisor.trouble("part") == again.error
        await trio.sleep(1.0 + CALM_SECONDS)
    assert supervisor.troubles() == ()
    assert supervisor.trouble("part") == ""
    assert [line["event"] for line in captured] == ["background.failed"] * 2
    assert all(line["exc_info"] for line in captured)
    nursery.cancel_scope.cancel()


async def test_it_is_tried_again_with_growing_pauses(nursery: trio.Nursery) -> None:
    supervisor, work = Supervisor(now), Failing(*[ValueError("again")] * 8)
    nursery.start_soon(supervisor.keep, "part", work)
    await trio.sleep(100.0)
    assert work.pauses() == pytest.approx([0.5, 1, 2, 4, 8, LONGEST_SECONDS, LONGEST_SECONDS, LONGEST_SECONDS])
    nursery.cancel_scope.cancel()


async def test_a_failure_long_after_the_last_one_is_a_new_one(nursery: trio.Nursery) -> None:
    supervisor, times = Supervisor(now), [0.0, 0.0, CALM_SECONDS, 0.0]

    async def work() -> None:
        await trio.sleep(times.pop(0))
        raise ValueError(str(len(times)))

    nursery.start_soon(supervisor.keep, "part", work)
    await trio.sleep(1.6 + CALM_SECONDS)
    (trouble,) = supervisor.troubles()
    assert (trouble.error, trouble.tries) == ("ValueError: 1", 1)
    nursery.cancel_scope.cancel()


async def test_a_part_that_is_away_is_no_trouble(nursery: trio.Nursery) -> None:
    supervisor, work = Supervisor(now), Failing(UnavailableError("database", "it is away"))
    with capture_logs() as captured:
        nursery.start_soon(supervisor.keep, "part", work)
        await trio.sleep(5.0)
    assert len(work.begun_at) == 2
    assert supervisor.troubles() == ()
    assert [line["log_level"] for line in captured] == ["warning"]
    nursery.cancel_scope.cancel()


async def test_work_that_returns_is_done() -> None:
    await Supervisor(now).keep("part", trio.lowlevel.checkpoint)


@pytest.mark.parametrize("beside", [False, True])
async def test_cancellation_is_no_failure(*, beside: bool) -> None:
    """A failure beside the cancellation is no reason to go on either."""
    supervisor = Supervisor(now)

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if beside:
                raise ValueError("at the end")

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_when_cancelled)
            await trio.sleep_forever()

    with capture_logs() as captured, trio.move_on_after(1.0) as scope:
        await supervisor.keep("part", work)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1.0)
    assert bool(captured) is beside


async def test_what_fails_before_it_has_started_is_for_who_waits(nursery: trio.Nursery) -> None:
    supervisor, errors = Supervisor(now), [ValueError("early")]
    started = 0

    async def work(*, task_status: trio.TaskStatus[str]) -> None:
        nonlocal started
        if errors:
            raise errors.pop()
        started += 1
        task_status.started("yes")
        if started == 1:
            raise ValueError("late")
        await trio.sleep_forever()

    with pytest.raises(ValueError, match="early"):
        await supervisor.keep_started("part", work, task_status=trio.TASK_STATUS_IGNORED)
    assert await nursery.start(supervisor.keep_started, "part", work) == "yes"
    await trio.sleep(5.0)
    assert started == 2
    nursery.cancel_scope.cancel()
