"""Unwrap the JSON object in a body with extra layers: blanks, JSON in JSON, base64, or a service's envelope."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_LAYERS = 6
"""A body with more layers is not wrapped by mistake."""

MAX_SHOWN = 120

_MARKS = "\ufeff\ufffe\u200b\0"
"""Byte order marks and other invisible characters at the ends of a text. str.strip removes the blanks."""

_MISREAD_MARK = "\u00ef\u00bb\u00bf"
"""A UTF-8 byte order mark that was decoded as three letters of Latin-1."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{8,}={0,2}\s*")
_NO_JSON = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One repair. ``where``: ``body``, or a JSON pointer into the message. Both values are cut for display."""

    where: str
    what: str
    before: str
    after: str


def change(where: str, what: str, before: Any, after: Any) -> Change:
    """Return a Change. A body is shown as it is, a value in it as JSON."""
    return Change(where, what, *(_shown(value if where == "body" else _json(value)) for value in (before, after)))


def unwrap(body: str) -> tuple[dict[str, Any], list[Change]] | None:
    """Return the message and the layers that were removed; None when there is no JSON object inside."""
    changes: list[Change] = []
    text = body
    for _ in range(MAX_LAYERS):
        if (bare := _stripped(text)) != text:
            changes.append(change("body", "blanks or a byte order mark taken off", text, bare))
        layer = _layer(bare)
        if layer is None:
            return None
        content, what = layer
        if isinstance(content, dict):
            return content, changes
        changes.append(change("body", what, bare, content))
        text = content
    return None


def _layer(text: str) -> tuple[dict[str, Any] | str, str] | None:
    """Return the outermost layer's content, and how it was unwrapped: the message, or a text; None for neither."""
    value = _parsed(text)
    if isinstance(value, dict):
        for service, content_of in _ENVELOPES.items():
            if (content := content_of(value)) is not None:
                return content, f"taken out of its {service} envelope"
        return value, ""
    if isinstance(value, str):
        return value, "decoded once more, being JSON in JSON"
    if value is _NO_JSON and (decoded := _from_base64(text)) is not None:
        return decoded, "decoded from base64"
    return None


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _NO_JSON


def _stripped(text: str) -> str:
    while (shorter := text.strip().strip(_MARKS).removeprefix(_MISREAD_MARK)) != text:
        text = shorter
    return text


def _from_base64(text: str) -> str | None:
    if not _BASE64.fullmatch(text):
        return None
    digits = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True).decode()
    except ValueError:  # base64's and UTF-8's errors
        return None


# --- envelopes ------------------------------------------------------------------------------------------------


def _sns(value: Mapping[str, Any]) -> str | None:
    """Amazon SNS, unless the subscription has raw message delivery."""
    return _as_text(value.get("Message")) if value.get("Type") == "Notification" else None


def _event_bridge(value: Mapping[str, Any]) -> str | None:
    """Amazon EventBridge, unless the rule's target has an input path."""
    return _as_text(value.get("detail")) if {"detail-type", "source", "detail"} <= value.keys() else None


def _celery(value: Mapping[str, Any]) -> str | None:
    """A Celery task, message protocol 2 in kombu's frame or protocol 1: its keywords, or its only argument."""
    if isinstance(value.get("headers"), dict) and isinstance(body := value.get("body"), str):
        task = _parsed(_from_base64(body) or body)
        if isinstance(task, list) and len(task) == _CELERY_PARTS:
            return _argument(*task[:2])
        value = task if isinstance(task, dict) else {}
    return _argument(value.get("args"), value.get("kwargs")) if {"task", "id", "args"} <= value.keys() else None


_CELERY_PARTS = 3
"""Arguments, keywords, and the callbacks of the task."""


def _argument(arguments: Any, keywords: Any) -> str | None:
    """Return the task's only argument or its keywords. Both together, or several arguments, are ambiguous."""
    if arguments and not keywords and isinstance(arguments, list) and len(arguments) == 1:
        return _as_text(arguments[0])
    return _as_text(keywords) if keywords and not arguments else None


_ENVELOPES = {"SNS": _sns, "EventBridge": _event_bridge, "Celery": _celery}


def _as_text(value: Any) -> str | None:
    """Return the text of the next layer; None when the value can't be one."""
    if isinstance(value, str):
        return value
    try:
        return _json(value) if isinstance(value, dict) else None
    except orjson.JSONEncodeError:  # orjson parses deeper nesting than it writes
        return None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"


def object_in(text: str) -> Mapping[str, Any] | None:
    """Return the JSON object in a text; None when it holds none."""
    value = _parsed(text)
    return value if isinstance(value, dict) else None
