"""Find misspelt keywords in a JSON Schema.

JSON Schema allows any word (Core, 2020-12, section 4.3.1) and ignores the unknown ones: with ``requird`` for
``required`` every job passes. So a word within a typo or two of a keyword is a fault; other annotations are allowed.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

MAX_MISSPELT = 20

# Keywords of all drafts whose value is a schema, a list of schemas, or a table of schemas.
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

# The other keywords that check something. A misspelt title does no harm.
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
_KEYWORDS = (_SCHEMA | _LIST | _TABLE | _CHECKS) - {"$defs", "definitions"}

# Words that look like a misspelt keyword but are none: other keywords, and those of OpenAPI.
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
"""Words of up to so many letters may have one typo, longer ones two."""

_SHORTEST = 4
"""Words of fewer letters are never taken for a misspelling."""


def misspelt_keywords(schema: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the JSON pointer, the word and the meant keyword of the first MAX_MISSPELT misspellings."""
    return list(islice(_misspelt(schema), MAX_MISSPELT))


def _misspelt(schema: Any) -> Iterator[tuple[str, str, str]]:
    pending = [("", schema)]
    while pending:
        pointer, node = pending.pop()
        if not isinstance(node, Mapping):
            continue
        for word, value in node.items():
            path = f"{pointer}/{word}"
            if meant := _meant(word):
                yield pointer, word, meant
            if word in _LIST and isinstance(value, list):
                pending += [(f"{path}/{number}", item) for number, item in enumerate(value)]
            elif word in _TABLE and isinstance(value, Mapping):
                pending += [(f"{path}/{name}", item) for name, item in value.items()]
            elif word in _SCHEMA:
                pending.append((path, value))


def _meant(word: str) -> str:
    """Return the keyword that a word misspells; empty for a keyword, and for a word that is like none."""
    if word in _KEYWORDS or word in _OTHERS or word in _TABLE or word.lower().startswith("x-"):
        return ""
    plain = _plain(word)
    distances = [(_typos(plain, _plain(keyword)), keyword) for keyword in sorted(_KEYWORDS)]
    typos, keyword = min(distances)
    return keyword if typos <= _allowed(min(plain, _plain(keyword), key=len)) else ""


def _plain(word: str) -> str:
    """Return the word without case and separators: ``min_length`` and ``Ref`` are misspellings, too."""
    return word.lower().replace("_", "").replace("-", "").removeprefix("$")


def _allowed(plain: str) -> int:
    return 0 if len(plain) < _SHORTEST else 1 if len(plain) <= _SHORT else 2


def _typos(word: str, keyword: str) -> int:
    """Return the edit distance: missing, extra, wrong or swapped letters (optimal string alignment)."""
    second_last: list[int] = []
    last = list(range(len(keyword) + 1))
    for row, letter in enumerate(word, 1):
        line = [row]
        for column, wanted in enumerate(keyword, 1):
            least = min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == keyword[column - 2] and word[row - 2] == wanted:
                least = min(least, second_last[column - 2] + 1)
            line.append(least)
        second_last, last = last, line
    return last[-1]
