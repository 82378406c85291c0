"""Bytes of other protocols that clients may send: HTTP/2, WebSocket, TLS."""

import base64
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The preface of HTTP/2 (RFC 9113, section 3.4)."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return a frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: bytes, value: bytes) -> bytes:
    """Return a literal header (RFC 7541, section 6.2.2). Name and value have at most 126 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def headers(method: bytes = b"GET", path: bytes = b"/healthz", stream: int = 1, flags: int = END_HEADERS) -> bytes:
    fields = field(b":method", method) + field(b":path", path) + field(b":scheme", b"http")
    return frame(HEADERS, flags, stream, fields + field(b":authority", b"localhost"))


def http2(*frames: bytes) -> bytes:
    return PREFACE + frame(SETTINGS) + b"".join(frames)


def priorities(count: int) -> bytes:
    return b"".join(frame(PRIORITY, 0, 2 * n + 1, struct.pack(">IB", 0, 15)) for n in range(count))


def upgrade(protocol: str, *lines: bytes) -> bytes:
    """Return a request for ``/healthz`` with an Upgrade."""
    head = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n"
    return head.encode() + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


KEY = (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)))

CLIENT_HELLO = bytes.fromhex(
    "16030100410100003d0303" + "5a" * 32 + "000004130113020100001000000013000500030268320a0000"
)
"""Return a TLS ClientHello (RFC 8446, section 4.1.2), cut off in its extensions."""

SEEN = {
    "HTTP/2 upload": http2(
        headers(b"PUT"), *(frame(DATA, 0, 1, bytes(16384)) for _ in range(40)), frame(DATA, END_STREAM, 1)
    ),
    "HTTP/2 path that is not ASCII": http2(headers(path=b"/\xc3\xa9", flags=END_HEADERS | END_STREAM)),
    "HTTP/2 method that is not ASCII": http2(headers(b"G\xc3\x89T", flags=END_HEADERS | END_STREAM)),
    "HTTP/2 priorities": http2(priorities(2000)),
    "HTTP/2 priorities of many streams": http2(priorities(2000), headers(stream=4001)),
    "h2c with bad settings": upgrade("h2c", b"HTTP2-Settings: a"),
    "h2c": upgrade("h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
    "h2c with a body that is not announced": upgrade("h2c", b"HTTP2-Settings: ") + http2(headers(stream=3)),
    "WebSocket with a subprotocol that is no text": upgrade("websocket", *KEY, b"Sec-WebSocket-Protocol: \xff"),
    "WebSocket with data behind": upgrade("websocket", *KEY) + b"\x81\x85\0\0\0\0hello" * 3,
    "WebSocket that expects and has a body": upgrade("websocket", *KEY, b"Expect: 100-continue", b"Content-Length: 5")
    + b"hello",
    "TLS": CLIENT_HELLO,
}
"""Inputs that once ended the daemon, or could have."""
