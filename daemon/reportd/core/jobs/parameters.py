"""The parameters of a job, kept as JSON text until somebody reads them.

A megabyte of JSON is parsed in a moment but can become 30 MiB of objects, so a list of a hundred parsed jobs could take
gigabytes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson


class Parameters(Mapping[str, Any]):
    """A JSON object as text. Each access parses it again. It equals a dict of the same content.

    ``text`` must be a JSON object; this is not checked here.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __getitem__(self, name: str) -> Any:
        return value_of(self)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(value_of(self))

    def __len__(self) -> int:
        return len(value_of(self))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Parameters) and other.text == self.text:
            return True
        return isinstance(other, Mapping) and value_of(self) == value_of(other)

    __hash__ = None  # type: ignore[assignment]  # like every mutable mapping

    def __repr__(self) -> str:
        return f"Parameters({self.text[:200]!r})"


def text_of(parameters: Mapping[str, Any]) -> str:
    """Return the JSON text."""
    return parameters.text if isinstance(parameters, Parameters) else orjson.dumps(parameters).decode()


def value_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parsed object."""
    if isinstance(parameters, Parameters):
        value: dict[str, Any] = orjson.loads(parameters.text)
        return value
    return parameters if isinstance(parameters, dict) else dict(parameters)
