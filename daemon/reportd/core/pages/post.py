"""The parameters of a job as the body of a POST request: JSON, or the fields of a form."""

from dataclasses import dataclass, field
from urllib.parse import urlencode

import orjson

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Body:
    """``content`` is of the type ``media_type``."""

    content: bytes = field(repr=False)
    media_type: str


def json_body(parameters: str) -> Body:
    """Return the parameters, a JSON object as text, as they are."""
    return Body(parameters.encode(), JSON_TYPE)


def form_body(parameters: str) -> Body:
    """Return a field for each parameter: a text as it is, anything else as JSON (``3``, ``true``, ``null``, ``[1,2]``).

    The object within is not taken apart: there is no one way to name its fields.
    """
    fields = {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in orjson.loads(parameters).items()
    }
    return Body(urlencode(fields).encode(), FORM_TYPE)
