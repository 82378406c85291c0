"""An expensive query runs once for all callers, and no caller waits long for one that hangs."""

import pytest
import trio

from reportd.concurrency.cached import Cached
from reportd.concurrency.nurseries import open_background
from reportd.ports import UnavailableError

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Part:
    """Returns its number of runs after ``seconds``, or raises."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked = 0
        self.error: Exception | None = None

    async def look(self) -> int:
        self.asked += 1
        asked = self.asked
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return asked

    def remembered(self, nursery: trio.Nursery) -> Cached[int]:
        return Cached("part", self.look, nursery, fresh_seconds=10.0, patience_seconds=2.0)


async def test_an_answer_is_good_for_a_while_and_nobody_is_asked_unless_somebody_wants_to_know() -> None:
    async with open_background() as nursery:
        part = Part()
        remembered = part.remembered(nursery)
        await trio.sleep(100.0)
        assert part.asked == 0
        assert [await remembered.get() for _ in range(3)] == [1, 1, 1]
        await trio.sleep(9.9)
        assert await remembered.get() == 1
        await trio.sleep(0.2)
        assert await remembered.get() == 2


async def test_many_at_once_share_one_look() -> None:
    answers: list[int] = []

    async def want() -> None:
        answers.append(await remembered.get())

    async with open_background() as background:
        part = Part(seconds=1.0)
        remembered = part.remembered(background)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(want)
    assert (answers, part.asked) == ([1] * 50, 1)


async def test_nobody_waits_for_a_look_that_hangs_and_no_second_one_is_begun() -> None:
    async with open_background() as nursery:
        part = Part(seconds=60.0)
        remembered = part.remembered(nursery)
        begun = trio.current_time()
        with pytest.raises(UnavailableError, match=r"part: no answer for 2\.0 s"):
            await remembered.get()
        await trio.sleep(20.0)
        with pytest.raises(UnavailableError, match=r"no answer for 22\.0 s"):
            await remembered.get()
        assert trio.current_time() - begun == pytest.approx(22.0)
        await trio.sleep(40.0)
        part.seconds = 0.0
        assert await remembered.get() == 2  # the first result has arrived, but is too old by now


async def test_an_error_is_remembered_like_an_answer_and_so_is_its_end() -> None:
    async with open_background() as nursery:
        part = Part()
        part.error = UnavailableError("database", "it is away")
        remembered = part.remembered(nursery)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="it is away"):
                await remembered.get()
        assert part.asked == 1
        part.error = None
        await trio.sleep(10.0)
        assert await remembered.get() == 2


async def test_a_look_that_fails_for_an_unforeseen_reason_is_one_without_an_answer() -> None:
    async with open_background() as nursery:
        part = Part()
        part.error = ZeroDivisionError("by nothing")
        remembered = part.remembered(nursery)
        with pytest.raises(UnavailableError, match="part: ZeroDivisionError: by nothing"):
            await remembered.get()
        assert not nursery.cancel_scope.cancel_called


async def test_who_asks_and_goes_away_leaves_the_look_to_the_others() -> None:
    async with open_background() as nursery:
        part = Part(seconds=1.0)
        remembered = part.remembered(nursery)
        with trio.move_on_after(0.5):
            await remembered.get()
        assert await remembered.get() == 1


async def test_who_asks_after_something_was_done_gets_what_is_seen_after_it() -> None:
    answers: list[int] = []

    async def want() -> None:
        answers.append(await remembered.get())

    async with open_background() as background:
        part = Part(seconds=1.0)
        remembered = part.remembered(background)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(want)
            await trio.sleep(0.5)
            remembered.forget()
            nursery.start_soon(want)
        assert answers == [1, 2]
        assert await remembered.get() == 2


async def test_what_is_dear_is_looked_at_less_often() -> None:
    async with open_background() as background:
        part = Part(seconds=0.5)
        remembered = Cached("part", part.look, background, fresh_seconds=1.0, patience_seconds=2.0, duty_factor=50.0)
        begun = trio.current_time()
        while trio.current_time() < begun + 255.0:
            await remembered.get()
            await trio.sleep(0.1)
        assert 9 <= part.asked <= 11
        part.seconds = 0.0
        await trio.sleep(30.0)
        asked = part.asked
        for _ in range(50):
            await remembered.get()
            await trio.sleep(0.1)
        assert 4 <= part.asked - asked <= 6
