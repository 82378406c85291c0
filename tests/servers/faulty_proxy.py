"""A proxy in front of an HTTP server that breaks requests on purpose, for tests of adapters.

A fault is a function of the request and of ``forward``, which takes it to the server; faults are laid out ahead by
operation, one a request, and a request without one goes through.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11
import httpx
import trio

# The host stays: it is signed.
_HOP_BY_HOP = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive"})


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back to the client; of a ``broken`` one, half of the body."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass(slots=True)
class Request:
    """What the client asks. The body is read when it is asked for, so that a fault may stop in the middle of it."""

    method: str
    target: str
    headers: Mapping[str, str]
    read_body: Callable[[int | None], Awaitable[bytes]]
    body: bytes | None = None

    @property
    def operation(self) -> str:
        """AWS's name of it, of SQS (JSON protocol) and of what is used of S3."""
        if target := self.headers.get("x-amz-target"):
            return target.rpartition(".")[2]
        query = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        for (method, key), name in _S3.items():
            if method == self.method and (not key or key in query):
                return name
        return f"{self.method} {self.target}"

    async def whole_body(self) -> bytes:
        if self.body is None:
            self.body = await self.read_body(None)
        return self.body


_S3 = {
    ("PUT", "partNumber"): "UploadPart",
    ("PUT", ""): "PutObject",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("DELETE", ""): "DeleteObject",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
}

Forward = Callable[[Request], Awaitable[Response]]
Fault = Callable[[Request, Forward], Awaitable[Response]]


class DroppedError(Exception):
    """Raised by a fault: the connection is closed without an answer."""


class Proxy:
    """``seen`` counts requests by operation, ``bodies`` keeps them. Made by ``open_proxy``."""

    def __init__(self, upstream: str, client: httpx.AsyncClient) -> None:
        self.url = ""
        self.seen: Counter[str] = Counter()
        self.requests: list[Request] = []
        self._upstream = upstream
        self._client = client
        self._faults: defaultdict[str, list[Fault]] = defaultdict(list)

    def plan(self, operation: str, *faults: Fault) -> None:
        """The next requests for it meet these faults, one each."""
        self._faults[operation] += faults

    async def answer(self, request: Request) -> Response:
        self.seen[request.operation] += 1
        self.requests.append(request)
        faults = self._faults[request.operation]
        return await (faults.pop(0) if faults else _through)(request, self._forward)

    async def _forward(self, request: Request) -> Response:
        kept = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
        answer = await self._client.request(
            request.method, self._upstream + request.target, headers=kept, content=await request.whole_body()
        )
        back = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return Response(answer.status_code, answer.content, back)


async def _through(request: Request, forward: Forward) -> Response:
    return await forward(request)


@asynccontextmanager
async def open_proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy on a free loopback port in front of the server at that URL."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client, trio.open_nursery() as nursery:
        proxy = Proxy(upstream, client)

        async def serve(stream: trio.SocketStream) -> None:
            await _serve(stream, proxy)

        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        proxy.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield proxy
        nursery.cancel_scope.cancel()


async def _serve(stream: trio.SocketStream, proxy: Proxy) -> None:
    connection = h11.Connection(h11.SERVER)

    async def send(event: h11.Event) -> None:
        await stream.send_all(connection.send(event) or b"")

    async def next_event() -> Any:
        while (event := connection.next_event()) is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await send(h11.InformationalResponse(status_code=100, headers=[]))
            connection.receive_data(await stream.receive_some())
        return event

    async def read_body(limit: int | None) -> bytes:
        body = b""
        while limit is None or len(body) < limit:
            event = await next_event()
            if not isinstance(event, h11.Data):
                break
            body += bytes(event.data)
        return body

    async with stream:
        try:
            while isinstance(head := await next_event(), h11.Request):
                headers = {name.decode().lower(): value.decode() for name, value in head.headers}
                # A client may name the whole URL (RFC 9112, section 3.2.2).
                target = re.sub(r"^https?://[^/]+", "", head.target.decode())
                request = Request(head.method.decode(), target, headers, read_body)
                response = await proxy.answer(request)
                await request.whole_body()
                named = [*response.headers.items(), ("content-length", str(len(response.body)))]
                await send(h11.Response(status_code=response.status, headers=named))
                if response.broken:
                    await send(h11.Data(data=response.body[: len(response.body) // 2]))
                    return
                if request.method != "HEAD":
                    await send(h11.Data(data=response.body))
                await send(h11.EndOfMessage())
                connection.start_next_cycle()
        except (DroppedError, trio.BrokenResourceError, h11.RemoteProtocolError):
            return


# --- faults -------------------------------------------------------------------------------------------------


def answer(status: int, code: str, message: str = "") -> Fault:
    """An error of AWS's, without asking the server: JSON for SQS, XML for S3."""

    async def fault(request: Request, _: Forward) -> Response:
        if "x-amz-target" in request.headers:
            told = {"__type": f"com.amazonaws.sqs#{code}", "message": message}
            return Response(status, json.dumps(told).encode(), {"content-type": "application/x-amz-json-1.0"})
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        return Response(status, text.encode(), {"content-type": "application/xml"})

    return fault


def without_conditions(code: str = "NotImplemented") -> Fault:
    """A server that does not take ``If-None-Match``, such as Alibaba's OSS."""

    async def fault(request: Request, forward: Forward) -> Response:
        if "if-none-match" in request.headers:
            await request.whole_body()
            return await answer(501, code, "A header you provided implies functionality that is not implemented")(
                request, forward
            )
        return await forward(request)

    return fault


def respond(body: bytes) -> Fault:
    """An answer of somebody else's."""

    async def fault(request: Request, _: Forward) -> Response:
        await request.whole_body()
        return Response(200, body, {"content-type": "text/plain"})

    return fault


async def drop_before(request: Request, _: Forward) -> Response:
    """The connection breaks before the server has heard of it."""
    await request.whole_body()
    raise DroppedError


async def drop_after(request: Request, forward: Forward) -> Response:
    """The server does it, and the connection breaks before its answer arrives."""
    await forward(request)
    raise DroppedError


def late(seconds: float) -> Fault:
    """The server does it at once, and its answer is so long on its way."""

    async def fault(request: Request, forward: Forward) -> Response:
        response = await forward(request)
        await trio.sleep(seconds)
        return response

    return fault


async def hang(request: Request, _: Forward) -> Response:
    """No answer, until the client gives up."""
    await request.whole_body()
    await trio.sleep_forever()
    raise AssertionError


async def break_upload(request: Request, _: Forward) -> Response:
    """The connection breaks in the middle of the body."""
    await request.read_body(int(request.headers["content-length"]) // 2)
    raise DroppedError


async def break_download(request: Request, forward: Forward) -> Response:
    """The connection breaks in the middle of the answer."""
    return replace(await forward(request), broken=True)


def fail_entry(number: int, code: str, message: str = "on purpose", *, sender_fault: bool) -> Fault:
    """One entry of a batch fails; the others reach the server."""

    async def fault(request: Request, forward: Forward) -> Response:
        response = await _without(number, request, forward)
        told = json.loads(response.body)
        failed = {"Id": str(number), "Code": code, "Message": message, "SenderFault": sender_fault}
        told["Failed"] = [*told.get("Failed", []), failed]
        return replace(response, body=json.dumps(told).encode())

    return fault


def lose_entry(number: int) -> Fault:
    """One entry of a batch is neither done nor mentioned in the answer."""

    async def fault(request: Request, forward: Forward) -> Response:
        return await _without(number, request, forward)

    return fault


async def _without(number: int, request: Request, forward: Forward) -> Response:
    asked = json.loads(await request.whole_body())
    asked["Entries"] = [entry for entry in asked["Entries"] if entry["Id"] != str(number)]
    if not asked["Entries"]:
        return Response(200, b"{}", {"content-type": "application/x-amz-json-1.0"})
    return await forward(replace(request, body=json.dumps(asked).encode()))


async def give_twice(request: Request, forward: Forward) -> Response:
    """Every message of a receive is in it twice."""
    response = await forward(request)
    told = json.loads(response.body)
    told["Messages"] = told.get("Messages", []) * 2
    return replace(response, body=json.dumps(told).encode())


def repeated(response: list[Response]) -> tuple[Fault, Fault]:
    """The first fault keeps the server's answer, the second gives the same one again."""

    async def keep(request: Request, forward: Forward) -> Response:
        response.append(await forward(request))
        return response[0]

    async def again(request: Request, _: Forward) -> Response:
        await request.whole_body()
        return response[0]

    return keep, again
