"""Reads a paused request (CDP ``Fetch.requestPaused``) whose message is too long, without what makes it so: its body.

Somebody waits for such a message: the request itself, which hangs until it is continued.
"""

import json
from typing import Any

PAUSED = b'{"method":"Fetch.requestPaused"'
"""The beginning of the message, as Chromium writes it."""

HEAD_BYTES = 256 * 1024
"""Of the beginning of a long message. Before the body are the URL and the headers; servers take a tenth of that."""

_BODIES = (b',"postData":', b',"hasPostData":', b',"postDataEntries":')
"""What begins the body. Within a text each quote has a backslash before it."""

_REST = b'},"frameId":'


def without_body(head: bytes, tail: bytes) -> dict[str, Any] | None:
    """Return the message, or None if its URL and headers are too long, too. ``tail``: its end."""
    starts = [at for body in _BODIES if (at := head.find(body)) >= 0]
    _, rest, end = tail.rpartition(_REST)
    if not starts or not rest:
        return None
    try:
        message: dict[str, Any] = json.loads(head[: min(starts)] + rest + end)
    except ValueError:
        return None
    return message
