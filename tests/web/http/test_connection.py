"""Arbitrary bytes on a connection: at worst this connection ends. No HTTP/2, no WebSocket."""

import pytest
import trio
from fastapi import FastAPI
from hypercorn.protocol.h11 import H11Protocol
from structlog.testing import capture_logs

from tests.web.raw import KEY, SEEN, headers, http2, upgrade
from tests.web.running import Running
from tests.web.serving import get, serving


@pytest.mark.parametrize("sent", SEEN.values(), ids=SEEN.keys())
async def test_what_is_no_http_1_costs_its_own_connection_only(running: Running, sent: bytes) -> None:
    async with serving(running) as served:
        good, bad = await served.connect(), await served.connect()
        with trio.move_on_after(0.3):
            try:
                await bad.send(sent)
                while await bad.stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass
        await good.send(get("/healthz"))
        assert (await good.answer()).status == 200
        fresh = await served.connect()
        await fresh.send(get("/healthz"))
        assert (await fresh.answer()).status == 200


@pytest.mark.parametrize("kind", [RuntimeError, OSError, MemoryError])
async def test_what_nobody_foresaw_ends_its_connection_and_is_logged_once_a_minute(
    running: Running, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    handle = H11Protocol.handle

    async def failing(protocol: H11Protocol, event: object) -> None:
        if b"boom" in getattr(event, "data", b""):
            raise kind("nobody foresaw this")
        await handle(protocol, event)  # type: ignore[arg-type]

    monkeypatch.setattr(H11Protocol, "handle", failing)
    with capture_logs() as logged:
        async with serving(running) as served:
            good = await served.connect()
            for _ in range(20):
                bad = await served.connect()
                await bad.send(get("/boom"))
                assert await bad.closed()
            await good.send(get("/healthz"))
            assert (await good.answer()).status == 200
    (entry,) = [entry for entry in logged if entry["log_level"] == "error"]
    assert entry["event"] == "http.connection_failed"
    assert "nobody foresaw this" in repr(entry["exc_info"])


async def test_an_application_that_fails_outside_of_everything_is_answered_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(FastAPI, "__call__", failing)
    with capture_logs() as logged:
        async with serving(running) as served:
            for _ in range(5):
                bad = await served.connect()
                await bad.send(get("/healthz"))
                assert (await bad.answer()).status == 500
                assert await bad.closed()
    assert [entry["event"] for entry in logged if entry["log_level"] == "error"] == ["http.answer_failed"]


async def test_another_protocol_is_not_offered(running: Running) -> None:
    """An Upgrade request is answered over HTTP/1.1 (RFC 9110, section 7.8); HTTP/2 without upgrade is refused."""
    async with serving(running) as served:
        for protocol in ("h2c", "websocket"):
            connection = await served.connect()
            await connection.send(upgrade(protocol, *KEY, b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"), get("/no/such"))
            answer = await connection.answer()
            assert (answer.status, answer.body) == (200, b"ok\n")
            assert "upgrade" not in answer.headers
            assert (await connection.answer()).status == 404, "it goes on as HTTP/1.1"
        connection = await served.connect()
        await connection.send(http2(headers()))
        assert (await connection.answer()).status == 505


async def test_a_reader_of_events_who_has_asked_for_more_and_goes_leaves_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a response nothing is read, so only sending shows that the client has gone."""
    monkeypatch.setattr("reportd_web.pages.dashboard.ALIVE_SECONDS", 0.05)
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get("/events"), get("/healthz"))
        await connection.stream.receive_some()
        await connection.stream.aclose()
        await trio.sleep(0.3)
        assert await served.end() < 1


@pytest.mark.parametrize("behind", ["", get("/healthz")], ids=["", "with another request behind"])
@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_download_that_is_broken_off_leaves_nothing_and_is_no_fault(
    running: Running, behind: str, *, abruptly: bool
) -> None:
    task_id = await running.submit()
    await running.succeed(task_id, bytes(32 * 1024 * 1024))
    with capture_logs() as logged:
        async with serving(running) as served:
            connection = await served.connect()
            await connection.send(get(f"/reports/{task_id}/pdf"), behind)
            await connection.stream.receive_some(1)
            if not abruptly:
                await connection.stream.send_eof()
                await trio.sleep(0.1)
            await connection.stream.aclose()
            await trio.sleep(0.2)
            assert await served.end() < 1
    assert [entry for entry in logged if entry["log_level"] == "error"] == []
