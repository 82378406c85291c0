"""Whatever bytes come on a connection: the worst is that this connection ends. No HTTP/2, no WebSocket."""

import pytest
import trio

from tests.web.raw import SEEN
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
