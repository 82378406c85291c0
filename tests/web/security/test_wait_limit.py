"""Long polls and event streams are limited for each caller and in total."""

from typing import Any

import pytest
import trio

from reportd_web.http.problems import ProblemError
from reportd_web.security.wait_limit import WaitLimit
from tests.web.running import MAX_WAITS, Running
from tests.web.secured import Secured
from tests.web.serving import Served, get, serving

HALF = MAX_WAITS // 2


async def wait(served: Served, path: str, headers: dict[str, str]) -> None:
    """Long-poll an unfinished report. Return when the server waits for it."""
    waits, connection = served.running.changes._waiting, await served.connect()
    before = sum(len(events) for events in waits.values())
    await connection.send(get(path, **headers))
    if path.startswith("/events"):
        await connection.stream.receive_some()
    else:
        while sum(len(events) for events in waits.values()) == before:
            await trio.sleep(0.01)


async def refused(served: Served, path: str, headers: dict[str, str]) -> tuple[int, str]:
    connection = await served.connect()
    await connection.send(get(path, **headers))
    answer = await connection.answer()
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    # Requests that do not wait are still answered.
    await connection.send(get("/healthz"))
    assert (await connection.answer()).status == 200
    return answer.status, answer.body.decode()


async def test_one_caller_has_half_of_them_and_two_have_all(secured: Secured) -> None:
    polled = f"/reports/{await secured.task()}?wait=30"
    paths = [polled, "/events", "/events?as=html", "/events"] * (HALF // 4)
    async with serving(secured.running) as served:
        for path in paths:
            await wait(served, path, secured.bearer("all"))
        for path in (polled, "/events"):
            status, text = await refused(served, path, secured.bearer("all"))
            assert status == 429
            assert f"{HALF} of your requests are waiting" in text
        for path in paths:
            await wait(served, path, secured.bearer("read"))
        status, text = await refused(served, polled, secured.bearer("tenant"))
        assert status == 503
        assert "http.max_connections" in text


async def test_without_tokens_an_address_has_half_of_them(running: Running) -> None:
    async with serving(running) as served:
        for _ in range(HALF):
            await wait(served, "/events", {})
        assert (await refused(served, "/events", {}))[0] == 429


def scope(name: str) -> dict[str, Any]:
    return {"reportd.actor": name, "client": ("127.0.0.1", 1)}


def test_places_are_given_back() -> None:
    waits = WaitLimit(4)
    for _ in range(3):
        with waits.admit(scope("a")), waits.admit(scope("a")):
            with pytest.raises(ProblemError) as failed, waits.admit(scope("a")):
                pass
            assert failed.value.status == 429
            with waits.admit(scope("b")), waits.admit(scope("b")):
                with pytest.raises(ProblemError) as failed, waits.admit(scope("c")):
                    pass
                assert failed.value.status == 503
    assert not waits._callers


def test_without_tokens_an_address_is_a_caller() -> None:
    waits = WaitLimit(2)
    with waits.admit({"client": ("127.0.0.1", 1)}):
        with pytest.raises(ProblemError), waits.admit({"client": ("127.0.0.1", 2)}):
            pass
        with waits.admit({"client": ("127.0.0.2", 1)}):
            pass
