"""The JSON object inside a body that was wrapped once too often: in blanks, in JSON, in base64, or in the envelope of
a service that carried it there.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MAX_LAYERS = 6
"""A body that is wrapped deeper is no mistake any more."""

MAX_SHOWN = 120

_MARKS = "\ufeff\ufffe\u200b\0"
"""Byte order marks, and what invisible things else come at the ends of a text. str.strip knows the blanks."""

_MISREAD_MARK = "\u00ef\u00bb\u00bf"
"""A UTF-8 byte order mark that was taken for three letters of Latin-1."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]{8,}={0,2}\s*")
_NO_JSON = object()


@dataclass(frozen=True, slots=True)
class Change:
    """One repair. ``where``: ``body``, or a JSON pointer into the message; before and after are cut to be read."""

    where: str
    what: str
    before: str
    after: str


def change(where: str, what: str, before: Any, after: Any) -> Change:
    """Of a body as it stands, of a value in it as JSON."""
    return Change(where, what, *(_shown(side if where == "body" else _json(side)) for side in (before, after)))


def unwrapped(body: str) -> tuple[dict[str, Any], list[Change]] | None:
    """The message and what was taken off it; None when there is no JSON object inside."""
    changes: list[Change] = []
    text = body
    for _ in range(MAX_LAYERS):
        if (bare := _bare(text)) != text:
            changes.append(change("body", "blanks or a byte order mark taken off", text, bare))
        layer = _layer(bare)
        if layer is None:
            return None
        inside, what = layer
        if isinstance(inside, dict):
            return inside, changes
        changes.append(change("body", what, bare, inside))
        text = inside
    return None


def _layer(text: str) -> tuple[dict[str, Any] | str, str] | None:
    """What the outermost layer holds: the message itself, or another text; None when it is neither."""
    value = _parsed(text)
    if isinstance(value, dict):
        for sender, inside_of in _ENVELOPES.items():
            if (inside := inside_of(value)) is not None:
                return inside, f"taken out of its {sender} envelope"
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


def _bare(text: str) -> str:
    while (stripped := text.strip().strip(_MARKS).removeprefix(_MISREAD_MARK)) != text:
        text = stripped
    return text


def _from_base64(text: str) -> str | None:
    if not _BASE64.fullmatch(text):
        return None
    digits = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True).decode()
    except ValueError:  # of both decoders
        return None


# --- envelopes ------------------------------------------------------------------------------------------------


def _sns(value: Mapping[str, Any]) -> str | None:
    """Amazon SNS, unless the subscription has raw message delivery."""
    return _as_text(value.get("Message")) if value.get("Type") == "Notification" else None


def _event_bridge(value: Mapping[str, Any]) -> str | None:
    """Amazon EventBridge, unless the rule's target has an input path."""
    return _as_text(value.get("detail")) if {"detail-type", "source", "detail"} <= value.keys() else None


def _celery(value: Mapping[str, Any]) -> str | None:
    """A task of Celery, message protocol 2 in kombu's frame, or protocol 1: its keywords or its one argument."""
    if isinstance(value.get("headers"), dict) and isinstance(body := value.get("body"), str):
        task = _parsed(_from_base64(body) or body)
        if isinstance(task, list) and len(task) == _CELERY_PARTS:
            return _argument(*task[:2])
        value = task if isinstance(task, dict) else {}
    return _argument(value.get("args"), value.get("kwargs")) if {"task", "id", "args"} <= value.keys() else None


_CELERY_PARTS = 3
"""Arguments, keywords, and what is to be called afterwards."""


def _argument(arguments: Any, keywords: Any) -> str | None:
    """With both, or several of one, there is no telling which of them is meant."""
    if arguments and not keywords and isinstance(arguments, list) and len(arguments) == 1:
        return _as_text(arguments[0])
    return _as_text(keywords) if keywords and not arguments else None


_ENVELOPES = {"SNS": _sns, "EventBridge": _event_bridge, "Celery": _celery}


def _as_text(value: Any) -> str | None:
    """The layer that a value is."""
    if isinstance(value, str):
        return value
    try:
        return _json(value) if isinstance(value, dict) else None
    except orjson.JSONEncodeError:  # it may be nested deeper than can be written
        return None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"


def object_in(text: str) -> Mapping[str, Any] | None:
    """The JSON object that a text is; None when it is none."""
    value = _parsed(text)
    return value if isinstance(value, dict) else None
