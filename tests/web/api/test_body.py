"""How a body arrives: in pieces, too large, too slowly."""

import json
from collections.abc import AsyncIterator
from math import inf

import pytest
import trio
from trio.testing import MockClock

from reportd_web.api.submission import BODY_SECONDS
from tests.web.running import MAX_BODY_BYTES, Running, submission

URL = "/reports/generate-async"
GOOD = json.dumps(submission()).encode()


@pytest.mark.parametrize(("size", "status"), [(len(GOOD), 202), (MAX_BODY_BYTES, 202), (MAX_BODY_BYTES + 1, 413)])
async def test_body_without_length_is_counted_as_it_comes(running: Running, size: int, status: int) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for start in range(0, size, 1000):
            piece = GOOD.ljust(size)[start : start + 1000]
            sent += len(piece)
            yield piece

    answer = await running.client.post(URL, content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    if status == 413:
        assert answer.headers["connection"] == "close"


async def test_a_body_in_single_bytes_is_refused(running: Running) -> None:
    """A tiny piece costs as much as a large one."""
    taken = 0

    async def crumbs() -> AsyncIterator[bytes]:
        nonlocal taken
        for taken in range(MAX_BODY_BYTES):  # noqa: B007
            yield b" "

    answer = await running.client.post(URL, content=crumbs(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "in pieces of at least 64 bytes" in answer.text
    assert taken < 5000


@pytest.mark.parametrize(
    "length", [MAX_BODY_BYTES + 1, 10**18, 10**4000], ids=["one more", "an exabyte", "4001 digits"]
)
async def test_announced_length_is_refused_before_the_body_is_read(running: Running, length: int) -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("the body was asked for")
        yield b""

    headers = {"Content-Type": "application/json", "Content-Length": str(length)}
    answer = await running.client.post(URL, content=never(), headers=headers)
    assert answer.status_code == 413


async def test_body_that_drips_is_given_up(running: Running, autojump_clock: MockClock) -> None:
    async def drips() -> AsyncIterator[bytes]:
        for byte in GOOD:
            await trio.sleep(1)
            yield bytes([byte])

    began = autojump_clock.current_time()
    answer = await running.client.post(URL, content=drips(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
    assert answer.json()["errors"][0]["pointer"] == ""
    assert autojump_clock.current_time() - began == pytest.approx(BODY_SECONDS)


async def test_large_body_may_take_its_time(running: Running, autojump_clock: MockClock) -> None:
    body = GOOD.ljust(MAX_BODY_BYTES)

    async def slow() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 4096):
            await trio.sleep(1.5)
            yield body[start : start + 4096]
        autojump_clock.autojump_threshold = inf  # the database has threads, which no clock waits for

    began = autojump_clock.current_time()
    answer = await running.client.post(URL, content=slow(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    assert autojump_clock.current_time() - began > BODY_SECONDS
