"""The number of connections is bounded: idle ones are closed for new ones."""

import json
import resource
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.lowlevel
from structlog.testing import capture_logs

from reportd_web.http import connection_limit
from tests.web.running import Running
from tests.web.serving import Connection, Served, get, post, serving

MOST = 5
HALF = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def served(running: Running) -> AsyncIterator[Served]:
    async with serving(running, max_connections=MOST) as served:
        yield served


async def long_polls(served: Served, count: int) -> list[Connection]:
    """Open ``count`` connections inside a request, until the job is finished."""
    task_id = await served.running.submit()
    polls = [await served.connect() for _ in range(count)]
    for poll in polls:
        await poll.send(get(f"/reports/{task_id}?wait=30"))
    while len(served.running.changes._waiting.get(task_id, ())) < count:
        await trio.sleep(0.01)
    return polls


async def healthy(served: Served) -> Connection:
    connection = await served.connect()
    await connection.send(get("/healthz"))
    assert (await connection.answer()).status == 200
    return connection


async def gone(connection: Connection) -> bool:
    try:
        return await connection.closed()
    except trio.BrokenResourceError:
        return True


async def test_half_open_connections_make_room(served: Served) -> None:
    halves = [await served.connect() for _ in range(4 * MOST)]
    for half in halves:
        await half.send(HALF)
    await healthy(served)
    for half in halves[: 3 * MOST]:
        assert await gone(half)


async def test_the_one_that_waits_longest_goes_first(served: Served) -> None:
    kept = [await healthy(served) for _ in range(MOST)]
    await kept[0].send(get("/healthz"))
    assert (await kept[0].answer()).status == 200
    await healthy(served)
    assert await gone(kept[1])
    await kept[0].send(get("/healthz"))
    assert (await kept[0].answer()).status == 200


async def test_a_flood_of_new_ones_leaves_the_kept_ones_alone(served: Served) -> None:
    """A load balancer sends its next request on a kept connection."""
    kept = [await healthy(served) for _ in range(2)]
    for _ in range(10 * MOST):
        await (await served.connect()).send(HALF)
        await trio.lowlevel.checkpoint()
    for connection in kept:
        await connection.send(get("/healthz"))
        assert (await connection.answer()).status == 200


async def test_a_flood_of_kept_ones_leaves_new_ones_alone(served: Served) -> None:
    kept = [await healthy(served) for _ in range(MOST - 1)]
    new = await served.connect()
    await new.send(HALF)
    for _ in range(10):
        await healthy(served)
    await new.send("\r\n")
    assert (await new.answer()).status == 200
    assert await gone(kept[0])


async def test_who_is_being_answered_stays_and_who_comes_is_told(served: Served) -> None:
    polls = await long_polls(served, MOST)
    with capture_logs() as logged:
        for _ in range(3):
            late = await served.connect()
            await late.send(get("/healthz"))
            answer = await late.answer()
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["content-type"] == "application/problem+json"
            assert "http.max_connections" in json.loads(answer.body)["detail"]
            await late.stream.send_eof()
            assert await gone(late)
    assert [entry["event"] for entry in logged] == ["http.crowded"]
    served.stop.set()
    for poll in polls:
        assert (await poll.answer()).status == 200


async def test_body_that_does_not_come_makes_room_but_not_before_who_waits(served: Served) -> None:
    slow = await served.connect()
    await slow.send(post(1000), "{")
    polls = await long_polls(served, MOST - 2)
    idle = await healthy(served)
    await (await served.connect()).send(HALF)
    assert await gone(idle)
    await healthy(served)
    await long_polls(served, 1)
    await healthy(served)
    assert await gone(slow)
    assert len(polls) == MOST - 2


async def test_who_takes_nothing_of_his_answer_makes_room(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit, "STUCK_SECONDS", 0.2)
    task_id = await served.running.submit()
    await served.running.succeed(task_id, bytes(32 * 1024 * 1024))
    stuck = [await served.connect() for _ in range(MOST)]
    for connection in stuck:
        await connection.send(get(f"/reports/{task_id}/pdf"))
        await connection.stream.receive_some(1)
    await trio.sleep(0.3)
    await healthy(served)


async def test_many_that_are_refused_hold_nothing(served: Served) -> None:
    await long_polls(served, MOST)
    late = [await served.connect() for _ in range(3 * connection_limit.MAX_REFUSALS)]
    with trio.fail_after(5):
        for connection in late:
            while True:
                try:
                    if not await connection.stream.receive_some():
                        break
                except trio.BrokenResourceError:
                    break


async def test_where_there_is_no_descriptor_one_that_waits_makes_room(served: Served) -> None:
    idle = await healthy(served)
    late = [socket.socket() for _ in range(2)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logged:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            for client in late:
                client.connect(("127.0.0.1", served.port))
            await trio.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await gone(idle)
        for client in late:
            async with trio.SocketStream(trio.socket.from_stdlib_socket(client)) as stream:
                connection = Connection(stream)
                await connection.send(get("/healthz"))
                assert (await connection.answer()).status == 200
    assert [entry["event"] for entry in logged] == ["http.no_room"]
