"""A load of submissions that costs little itself: kept-alive connections, and requests made beforehand."""

import json
from collections.abc import Iterator

import trio

from tests.e2e.process import USER


async def submissions_per_second(port: int, concurrency: int, count: int) -> float:
    """``count`` submissions of a small report; every answer must be 202."""
    left = iter(range(count))
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(_submit, port, left)
    return count / (trio.current_time() - begun)


async def _submit(port: int, left: Iterator[int]) -> None:
    body = json.dumps({"reportType": "bench", "userId": USER, "parameters": {"title": "load", "rows": 20}}).encode()
    head = f"POST /reports/generate-async HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        for _ in left:
            await stream.send_all(request)
            answer = await _answer(stream)
            assert answer.startswith(b"HTTP/1.1 202 "), answer


async def _answer(stream: trio.SocketStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += await stream.receive_some(65536)
    return head + body
