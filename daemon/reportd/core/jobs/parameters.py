"""The parameters of a job as they are kept and carried: as JSON text, which nobody parses who only passes it on.

A megabyte of JSON is a moment's work for its parser, but may be 30 MiB of objects: a list of a hundred jobs would be
gigabytes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson


class Parameters(Mapping[str, Any]):
    """A JSON object as text. It is parsed anew each time somebody looks inside, and equals a dict of the same content.

    ``text`` must be a JSON object; nobody checks it here.
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

    __hash__ = None  # type: ignore[assignment]  # as of every mapping

    def __repr__(self) -> str:
        return f"Parameters({self.text[:200]!r})"


def text_of(parameters: Mapping[str, Any]) -> str:
    """The JSON text."""
    return parameters.text if isinstance(parameters, Parameters) else orjson.dumps(parameters).decode()


def value_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed object."""
    if isinstance(parameters, Parameters):
        value: dict[str, Any] = orjson.loads(parameters.text)
        return value
    return parameters if isinstance(parameters, dict) else dict(parameters)
