"""What the daemon answers a page that asks for a file of its template, without a browser."""

import base64
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio

from reportd.adapters.chromium.page.assets import PIECE, AssetServer
from reportd.adapters.chromium.page.monitor import PageMonitor
from reportd.adapters.chromium.protocol.cdp import Cdp
from reportd.core.pages.assets import base_url


@dataclass(slots=True)
class Page:
    sent: list[dict[str, Any]] = field(default_factory=list)

    def send(self, _: str, /, **params: Any) -> None:
        self.sent.append(params)


@dataclass(slots=True)
class OneFile:
    data: bytes
    template: str = "own.html"
    edition: str = "0123456789ab"

    async def find(self, _: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.data


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, 9 * PIECE + 2])
async def test_a_file_arrives_whole_and_others_run_while_a_large_one_is_encoded(size: int) -> None:
    page, steps, files = Page(), 0, OneFile(bytes(range(256)) * (size // 256) + bytes(size % 256))

    async def count() -> None:
        nonlocal steps
        while not page.sent:
            steps += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        server = AssetServer(cast("Cdp", page), files, PageMonitor("blank"), max_bytes=size)
        _, take = server.part(nursery)
        nursery.start_soon(count)
        assert take({"requestId": "1", "request": {"url": f"{base_url(files.edition)}a.png"}})
    assert base64.b64decode(page.sent[0]["body"]) == files.data
    assert steps >= size // PIECE
