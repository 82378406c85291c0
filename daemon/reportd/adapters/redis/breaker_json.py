"""A breaker as a small JSON text, for stores outside the process. Daemons of different versions may share it."""

from typing import Any

import orjson

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.breaker.window import Grade


def to_json(breaker: Breaker) -> str:
    """Return all fields by name."""
    return orjson.dumps(breaker).decode()


def from_json(text: str) -> Breaker:
    """Parse the text of ``to_json``. Unknown fields are ignored, missing ones get their defaults.

    Raises ValueError when it is no breaker.
    """
    raw = orjson.loads(text)
    try:
        return Breaker(**{name: convert(raw[name]) for name, convert in _FIELDS.items() if name in raw})
    except (TypeError, ValueError, OverflowError):
        raise ValueError("this is no breaker") from None


def _window(pairs: Any) -> Any:
    return tuple((float(at), Grade(grade)) for at, grade in pairs)


_FIELDS: dict[str, Any] = {
    "report_type": str,
    "state": BreakerState,
    "epoch": str,
    "version": int,
    "since": float,
    "until": float,
    "lease": str,
    "lease_until": float,
    "failures": int,
    "successes": int,
    "openings": int,
    "opened_at": float,
    "window": _window,
    "faults": lambda texts: tuple(map(str, texts)),
    "reason": str,
    "by": str,
}
