"""Retries outlast an unavailable part, but not a bug or a cancellation."""

import pytest
import trio

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.ports import UnavailableError

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Part:
    """Unavailable for a number of calls, then available."""

    def __init__(self, away: int, error: Exception | None = None) -> None:
        self.away = away
        self.error = error
        self.asked: list[float] = []

    async def call(self) -> str:
        self.asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(self.asked) <= self.away:
            raise UnavailableError("part", "away")
        if self.error:
            raise self.error
        return "answer"


async def test_a_part_that_is_there_is_asked_once() -> None:
    part = Part(0)
    assert await retry_while_unavailable(part.call) == "answer"
    assert part.asked == [0.0]


async def test_waits_double_up_to_five_seconds() -> None:
    part = Part(9)
    assert await retry_while_unavailable(part.call) == "answer"
    waits = [later - earlier for earlier, later in zip(part.asked, part.asked[1:], strict=False)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


async def test_an_error_that_is_no_absence_is_raised() -> None:
    with pytest.raises(KeyError):
        await retry_while_unavailable(Part(3, KeyError()).call)


async def test_cancellation_ends_it() -> None:
    part = Part(10**6)
    with trio.move_on_after(60.0) as scope:
        await retry_while_unavailable(part.call)
    assert scope.cancelled_caught
    assert len(part.asked) < 20
