"""Words in a JSON Schema that are no keywords but were probably meant to be.

Any word is allowed there (JSON Schema Core, 2020-12, section 4.3.1), and one that is none checks nothing: with
``requird`` for ``required`` every job passes. So a word that differs from a keyword by no more than a slip is a fault,
while annotations of one's own stay allowed.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

MAX_MISSPELT = 20

# Of all drafts, those that hold a schema, a list of schemas or of either, or a table of schemas.
_SCHEMA = frozenset(
    [
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
_LIST = frozenset(["allOf", "anyOf", "items", "oneOf", "prefixItems"])
_TABLE = frozenset(["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"])

# The others that check something; to misspell a title does no harm.
_CHECKS = frozenset(
    [
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "const",
        "dependentRequired",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "maxContains",
        "maximum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minContains",
        "minimum",
        "minItems",
        "minLength",
        "minProperties",
        "multipleOf",
        "pattern",
        "required",
        "type",
        "uniqueItems",
    ]
)
_MEANT = (_SCHEMA | _LIST | _TABLE | _CHECKS) - {"$defs", "definitions"}

# What is near to a keyword and yet none of its misspellings: other keywords, and those of OpenAPI.
_OTHERS = frozenset(
    [
        "$anchor",
        "$comment",
        "$dynamicAnchor",
        "$id",
        "$recursiveAnchor",
        "$schema",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "default",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "id",
        "nullable",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    ]
)

_SHORT = 5
"""A word this short has one slip at most, a longer one two; and with less than four letters none."""

_SHORTEST = 4


def misspelt(schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Where such a word is (a JSON pointer), the word, and the keyword that was meant; the first few."""
    return list(islice(_found(schema), MAX_MISSPELT))


def _found(schema: Any) -> Iterator[tuple[str, str, str]]:
    left = [("", schema)]
    while left:
        pointer, here = left.pop()
        if not isinstance(here, Mapping):
            continue
        for word, value in here.items():
            at = f"{pointer}/{word}"
            if meant := _meant(word):
                yield pointer, word, meant
            if word in _LIST and isinstance(value, list):
                left += [(f"{at}/{number}", item) for number, item in enumerate(value)]
            elif word in _TABLE and isinstance(value, Mapping):
                left += [(f"{at}/{name}", item) for name, item in value.items()]
            elif word in _SCHEMA:
                left.append((at, value))


def _meant(word: str) -> str:
    """Empty for a keyword, and for a word that is like none."""
    if word in _MEANT or word in _OTHERS or word in _TABLE or word.lower().startswith("x-"):
        return ""
    plain = _plain(word)
    near = [(_slips(plain, _plain(keyword)), keyword) for keyword in sorted(_MEANT)]
    slips, keyword = min(near)
    return keyword if slips <= _allowed(min(plain, _plain(keyword), key=len)) else ""


def _plain(word: str) -> str:
    """``min_length`` and ``Ref`` are meant as well."""
    return word.lower().replace("_", "").replace("-", "").removeprefix("$")


def _allowed(plain: str) -> int:
    return 0 if len(plain) < _SHORTEST else 1 if len(plain) <= _SHORT else 2


def _slips(one: str, other: str) -> int:
    """Letters that are missing, too many, wrong, or changed places with the next one (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, wanted in enumerate(other, 1):
            least = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and one[row - 2] == wanted:
                least = min(least, before[column - 2] + 1)
            line.append(least)
        before, last = last, line
    return last[-1]
