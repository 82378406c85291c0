"""A long poll can be abandoned at any moment without losing a message for the visibility timeout."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.adapters.sqs.polls import GRACE_SECONDS, Polls
from reportd.ports import Received, UnavailableError

pytestmark = pytest.mark.usefixtures("autojump_clock")


def message(name: str) -> Received:
    return Received(receipt=name, body="{}", receive_count=1, sent_at=0.0)


class Server:
    """Answers each poll with its prepared answer, after its delay in seconds."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, list[Received] | UnavailableError]] = []
        self.asked: list[tuple[int, float]] = []
        self.cut = 0
        self.returned: list[str] = []
        self.return_seconds = 0.0

    async def ask(self, limit: int, wait_seconds: float) -> list[Received]:
        self.asked.append((limit, wait_seconds))
        after, answer = self.answers.pop(0) if self.answers else (wait_seconds, [])
        try:
            await trio.sleep(after)
        except trio.Cancelled:
            self.cut += 1
            raise
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    async def give_back(self, messages: Sequence[Received]) -> None:
        await trio.sleep(self.return_seconds)
        self.returned += [each.receipt for each in messages]

    @asynccontextmanager
    async def polls(self) -> AsyncIterator[Polls]:
        async with trio.open_nursery() as nursery:
            polls = Polls(nursery, self.ask, self.give_back)
            yield polls
            await polls.wind_up()
            nursery.cancel_scope.cancel()


async def test_an_answer_reaches_its_caller() -> None:
    server = Server()
    server.answers = [(3, [message("a")])]
    async with server.polls() as polls:
        assert await polls.receive(5, 20) == [message("a")]
    assert server.asked == [(5, 20)]


async def test_nothing_comes_back_once_the_wait_is_over() -> None:
    server = Server()
    async with server.polls() as polls:
        start = trio.current_time()
        assert await polls.receive(5, 45) == []
        assert trio.current_time() - start == pytest.approx(45)


async def test_a_server_that_answers_early_is_asked_again_for_the_rest() -> None:
    server = Server()
    server.answers = [(1, []), (1, [message("a")])]
    async with server.polls() as polls:
        assert await polls.receive(5, 20) == [message("a")]
    assert server.asked == [(5, 20), (5, pytest.approx(19))]


async def test_no_wait_is_one_request() -> None:
    server = Server()
    async with server.polls() as polls:
        assert await polls.receive(5, 0) == []
    assert server.asked == [(5, 0)]


async def test_what_arrives_for_a_caller_that_left_is_given_back() -> None:
    server = Server()
    server.answers = [(3, [message("a"), message("b")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        assert trio.current_time() > 0.9
        await trio.sleep(5)
        assert server.returned == ["a", "b"]
    assert server.cut == 0


async def test_the_next_caller_still_gets_what_has_just_arrived() -> None:
    server = Server()
    server.answers = [(3, [message("a")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        await trio.sleep(2.25)
        assert await polls.receive(5, 20) == [message("a")]
    assert server.returned == []


async def test_closing_gives_back_what_has_just_arrived() -> None:
    server = Server()
    server.answers = [(3, [message("a")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        await trio.sleep(2.25)
    assert server.returned == ["a"]


async def test_the_next_caller_takes_over_what_was_left() -> None:
    server = Server()
    server.answers = [(3, [message("a")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        assert await polls.receive(5, 20) == [message("a")]
    assert len(server.asked) == 1
    assert server.returned == []


async def test_a_caller_that_takes_over_waits_no_longer_than_it_wants() -> None:
    server = Server()
    server.answers = [(10, [message("a")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        start = trio.current_time()
        assert await polls.receive(5, 2) == []
        assert trio.current_time() - start == pytest.approx(2)
        assert await polls.receive(5, 20) == [message("a")]
    assert len(server.asked) == 1


async def test_a_caller_that_wants_fewer_gets_no_more() -> None:
    server = Server()
    server.answers = [(3, [message("a"), message("b"), message("c")])]
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(10, 20)
        assert await polls.receive(1, 20) == [message("a")]
    assert server.returned == ["b", "c"]


async def test_a_cancellation_in_the_instant_of_the_answer_strands_nothing() -> None:
    got: list[Received] = []
    scope = trio.CancelScope()

    async def answer_as_the_caller_goes(*_: object) -> list[Received]:
        await trio.sleep(1)
        # From here to the end of the poll the caller does not run.
        scope.cancel()
        return [message("a")]

    server = Server()
    async with trio.open_nursery() as nursery:
        polls = Polls(nursery, answer_as_the_caller_goes, server.give_back)
        with scope:
            got = await polls.receive(5, 20)
        assert scope.cancelled_caught
        await polls.wind_up()
    assert got == []
    assert server.returned == ["a"]


async def test_a_cancellation_just_after_the_answer_comes_too_late() -> None:
    server = Server()
    server.answers = [(1, [message("a")])]
    got: list[Received] = []
    async with server.polls() as polls:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def receive() -> None:
                    got.extend(await polls.receive(5, 20))
                    scope.cancel()

                nursery.start_soon(receive)
    assert got == [message("a")]
    assert server.returned == []


async def test_a_failure_is_the_callers_and_one_that_nobody_waits_for_is_nobodys() -> None:
    server = Server()
    server.answers = [(1, UnavailableError("queue", "away")), (3, UnavailableError("queue", "away"))]
    async with server.polls() as polls:
        with pytest.raises(UnavailableError, match="away"):
            await polls.receive(5, 20)
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        await trio.sleep(5)
        assert await polls.receive(5, 1) == []


async def test_closing_waits_for_an_answer_on_its_way_and_gives_it_back() -> None:
    server = Server()
    server.answers = [(1.5, [message("a")])]
    server.return_seconds = 2
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
    assert server.returned == ["a"]


async def test_closing_cuts_a_poll_once_its_grace_is_over() -> None:
    server = Server()
    async with server.polls() as polls:
        with trio.move_on_after(1):
            await polls.receive(5, 20)
        left_at = trio.current_time()
    assert server.cut == 1
    assert trio.current_time() - left_at == pytest.approx(GRACE_SECONDS)


async def test_concurrent_callers_each_have_a_poll() -> None:
    server = Server()
    server.answers = [(3, [message("a")]), (1, [message("b")])]
    got: list[str] = []
    async with server.polls() as polls, trio.open_nursery() as nursery:

        async def one() -> None:
            got.extend([each.receipt for each in await polls.receive(5, 20)])

        nursery.start_soon(one)
        nursery.start_soon(one)
    assert sorted(got) == ["a", "b"]
