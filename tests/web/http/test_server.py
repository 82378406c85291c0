"""The application on a real server and a real socket: limits, slow and broken clients, and the end."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reportd.ports import Outgoing
from reportd_web.api import submission
from reportd_web.http import connection as one_connection
from reportd_web.http import server
from tests.web.running import MAX_BODY_BYTES, Running
from tests.web.running import submission as good
from tests.web.serving import URL, Served, get, post, serving

GOOD = json.dumps(good()).encode()
MIB = 1024 * 1024


@pytest.fixture
async def served(running: Running) -> AsyncIterator[Served]:
    async with serving(running) as served:
        yield served


# Good clients


async def test_submission_and_pdf_over_a_socket(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        answer = await client.post(URL, json=good())
        assert answer.status_code == 202
        task_id = answer.json()["taskId"]
        data = b"%PDF-1.7" + bytes(3 * MIB)
        await served.running.succeed(task_id, data)
        report = (await client.get(answer.headers["location"])).json()
        assert (await client.get(report["pdf"]["url"])).content == data
        part = await client.get(report["pdf"]["url"], headers={"Range": "bytes=0-3"})
        assert (part.status_code, part.content) == (206, b"%PDF")
        head = await client.head(report["pdf"]["url"])
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
        same = await client.get(report["pdf"]["url"], headers={"If-None-Match": head.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert "server" not in same.headers


async def test_ipv6(running: Running) -> None:
    async with serving(running, "[::1]:0") as served:
        assert re.fullmatch(r"http://\[::1\]:\d+", served.url)
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_port_that_is_taken_is_an_error(served: Served) -> None:
    with pytest.raises(OSError, match="in use"):
        await server.serve(served.running.app, f"127.0.0.1:{served.port}", trio.Event(), 10)


async def test_connection_is_kept_and_head_leaves_it_in_step(served: Served) -> None:
    connection = await served.connect()
    for _ in range(3):
        await connection.send(post(len(GOOD)), GOOD)
        assert (await connection.answer()).status == 202
        await connection.send(get("/reports", "HEAD"))
        assert int((await connection.answer(head=True)).headers["content-length"]) > 0
        await connection.send(get("/no/such"))
        assert (await connection.answer()).status == 404


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    connection = await served.connect()
    await connection.send(get("/healthz"), post(len(GOOD)), GOOD, get("/no/such"))
    assert [(await connection.answer()).status for _ in range(3)] == [200, 202, 404]


async def test_chunked_body(served: Served) -> None:
    connection = await served.connect()
    half = len(GOOD) // 2
    await connection.send(post("", Content_Length="", Transfer_Encoding="chunked"))
    for piece in (GOOD[:half], GOOD[half:], b""):
        await connection.send(f"{len(piece):x}\r\n", piece, "\r\n")
    assert (await connection.answer()).status == 202


async def test_client_that_asks_before_it_sends(served: Served) -> None:
    connection = await served.connect()
    await connection.send(post(len(GOOD), Expect="100-continue"))
    assert (await connection.answer()).status == 100
    await connection.send(GOOD)
    assert (await connection.answer()).status == 202


# Unread bodies


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_body_gets_its_answer_and_the_connection_is_closed(served: Served, *, chunked: bool) -> None:
    connection = await served.connect()
    body = b" " * 2 * MIB
    if chunked:
        await connection.send(post("", Content_Length="", Transfer_Encoding="chunked"))
        await connection.send(f"{len(body):x}\r\n", body, "\r\n0\r\n\r\n")
    else:
        await connection.send(post(len(body)), body)
    answer = await connection.answer()
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert f"at most {MAX_BODY_BYTES} bytes" in answer.body.decode()
    assert await connection.closed()


@pytest.mark.parametrize("path", [URL, "/no/such", "/status"])
async def test_unread_body_gets_its_answer_and_the_connection_goes_on(served: Served, path: str) -> None:
    connection = await served.connect()
    for _ in range(2):
        head = post(2 * MIB, Content_Type="text/plain").replace(URL, path)
        await connection.send(head, b" " * 2 * MIB)
        assert (await connection.answer()).status in (415, 404, 405)
    await connection.send(get("/healthz"))
    assert (await connection.answer()).status == 200
    assert await served.end() < server.GRACE_SECONDS - 1


async def test_endless_body_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_BYTES", 2 * MIB)
    connection = await served.connect()
    await connection.send(post("", Content_Length="", Content_Type="text/plain", Transfer_Encoding="chunked"))
    piece, sent = b"10000\r\n" + b" " * 65536 + b"\r\n", 0
    with suppress(trio.BrokenResourceError):
        while sent < 50 * MIB:
            await connection.send(piece)
            sent += len(piece)
    assert sent < 50 * MIB
    assert await served.end() < server.GRACE_SECONDS - 1


async def test_early_answer_is_there_before_the_body_is(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.2)
    connection = await served.connect()
    await connection.send(post(10 * MIB))
    answer = await connection.answer()
    assert answer.status == 413
    assert await connection.closed()


# Slow, rude and broken clients


async def test_body_that_does_not_come_is_408(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)
    connection = await served.connect()
    await connection.send(post(len(GOOD)), GOOD[:-1])
    answer = await connection.answer()
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert await connection.closed()
    assert await served.running.rows() == 0


BEGUN = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("begun", ["", BEGUN], ids=["nothing", "part of a head"])
async def test_request_that_does_not_come_is_given_up(
    running: Running, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    monkeypatch.setattr(one_connection, "HEAD_SECONDS", 0.1)
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(begun)
        if begun:
            assert (await connection.answer()).status == 408
        assert await connection.closed()


async def test_head_that_drips_is_given_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_connection, "HEAD_SECONDS", 0.3)
    async with serving(running) as served:
        connection = await served.connect()
        began, sent = trio.current_time(), 0
        with suppress(trio.BrokenResourceError), trio.fail_after(5):
            for byte in BEGUN * 100:
                await connection.send(byte)
                sent += 1
                await trio.sleep(0.01)
        assert trio.current_time() - began < 2


@pytest.mark.parametrize("at_once", [True, False])
async def test_head_of_a_later_request_is_waited_for_no_longer(
    running: Running, monkeypatch: pytest.MonkeyPatch, *, at_once: bool
) -> None:
    monkeypatch.setattr(one_connection, "HEAD_SECONDS", 0.2)
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get("/healthz"), BEGUN if at_once else "")
        assert (await connection.answer()).status == 200
        if not at_once:
            await wait_all_tasks_blocked(0.02)
            await connection.send(BEGUN)
        with trio.fail_after(2):
            assert (await connection.answer()).status == 408
            assert await connection.closed()


async def test_kept_connection_may_rest_longer_than_a_head_may_take(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_connection, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(one_connection, "KEEP_ALIVE_SECONDS", 0.5)
    async with serving(running) as served:
        connection = await served.connect()
        for pause in (0.3, 0.0):
            await connection.send(get("/healthz"))
            assert (await connection.answer()).status == 200
            await trio.sleep(pause)
        assert await connection.closed()


GARBAGE = {
    "noise": b"\x00\xff\x16\x03\x01\r\n\r\n",
    "another protocol": b"EHLO example.com\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "space in a name": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n",
    "NUL in a value": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "unknown coding": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    "bare bytes in the path": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "endless header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_is_refused_and_harms_nobody(served: Served, garbage: bytes) -> None:
    good, bad = await served.connect(), await served.connect()
    await bad.send(get("/healthz"), garbage)
    assert (await bad.answer()).status == 200
    assert (await bad.answer()).status in (400, 431, 501)
    await good.send(get("/healthz"))
    assert (await good.answer()).status == 200


async def test_client_that_goes_in_the_middle_of_its_body(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    connection = await served.connect()
    await connection.send(post(len(GOOD)), GOOD[:-1])
    await wait_all_tasks_blocked(0.01)
    await connection.stream.aclose()
    assert await served.end() < server.GRACE_SECONDS - 1
    assert await served.running.rows() == 0
    assert "error" not in capsys.readouterr().out


async def test_nobody_waits_for_a_client_that_has_gone(served: Served) -> None:
    waiting = served.running.changes._waiting
    task_id = await served.running.submit()
    connection = await served.connect()
    await connection.send(get(f"/reports/{task_id}?wait=30"))
    while not waiting:
        await trio.sleep(0.01)
    await connection.stream.aclose()
    with trio.fail_after(5):
        while waiting:
            await trio.sleep(0.01)


async def test_client_that_takes_nothing_does_not_hold_up_the_end(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(one_connection, "SEND_SECONDS", 0.5)
    task_id = await running.submit()
    await running.succeed(task_id, bytes(32 * MIB))
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get(f"/reports/{task_id}/pdf"))
        await connection.stream.receive_some(1)
        assert await served.end() < 10


# The end


async def test_stop_finishes_what_is_being_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    send, asked, confirm = served.running.queue.send, trio.Event(), trio.Event()

    async def slow(new: Sequence[Outgoing]) -> list[Exception | None]:
        asked.set()
        await confirm.wait()
        return await send(new)

    monkeypatch.setattr(served.running.queue, "send", slow)
    idle, busy = await served.connect(), await served.connect()
    await busy.send(post(len(GOOD)), GOOD)
    await asked.wait()
    served.stop.set()
    assert await idle.closed()
    with pytest.raises(OSError, match="attempts to connect"):
        await served.connect()
    assert not served.ended.is_set()
    confirm.set()
    assert (await busy.answer()).status == 202
    assert await busy.closed()
    await served.ended.wait()


async def test_stop_answers_who_waits_for_a_report_at_once(served: Served) -> None:
    task_id = await served.running.submit()
    connection = await served.connect()
    await connection.send(get(f"/reports/{task_id}?wait=30"))
    while not served.running.changes._waiting:
        await trio.sleep(0.01)
    served.stop.set()
    answer = await connection.answer()
    assert answer.status == 200
    assert json.loads(answer.body)["state"] == "queued"
    await served.ended.wait()


async def test_stop_does_not_wait_for_ever(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: object) -> list[Exception | None]:
        await trio.sleep_forever()
        return []

    monkeypatch.setattr(server, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(running.queue, "send", never)
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(post(len(GOOD)), GOOD)
        while not await running.rows():
            await trio.sleep(0.01)
        assert await served.end() < 5
