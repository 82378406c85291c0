"""Finds where an error is: in a message that names file and line, by a key of TOML, or by a pointer into JSON."""

import re
from dataclasses import dataclass

import orjson

_FILE_AND_LINE = re.compile(r"(?P<file>[^\s:;,](?:[^:;,\n]*[^\s:;,])?), line (?P<line>[0-9]{1,9})\b")
_LINE = re.compile(r"\bline (?P<line>[0-9]{1,9})\b")
_POINTER = re.compile(r" (?:has (?P<word>\S+)|is not a JSON Schema) at (?P<pointer>/\S*|its top)[:,] ")
_HEADER = re.compile(r"\s*\[\[?(?P<name>[^\]\n]+)\]")
_KEY = re.compile(r"\s*(?P<name>[A-Za-z0-9_.\"'-]+(?:\s*\.\s*[A-Za-z0-9_\"'-]+)*)\s*=")
_COLON = re.compile(r"\s*:")
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class Place:
    """``file`` is empty where a message names only the line."""

    file: str
    line: int


def place_in(message: str) -> Place | None:
    """Return the first ``FILE, line N`` of a message, else its first ``line N``; None when it names no line."""
    if match := _FILE_AND_LINE.search(message):
        return Place(match["file"], int(match["line"]))
    match = _LINE.search(message)
    return match and Place("", int(match["line"]))


def pointer_in(message: str) -> str:
    """Return the JSON pointer into a schema at which a message says that it is wrong; empty when it names none."""
    match = _POINTER.search(message)
    if match is None:
        return ""
    word = f"/{match['word']}" if match["word"] else ""
    return f"{match['pointer'].removeprefix('its top')}{word}"


def line_of_key(toml: str, key: str) -> int:
    """Return the line that sets a dotted key, or else that of the nearest section or table around it; 1 if none."""
    wanted = key.split(".")
    best, line_of_best, section = 0, 1, []
    for number, line in enumerate(toml.split("\n"), 1):
        if header := _HEADER.match(line):
            section = found = _parts(header["name"])
        elif assignment := _KEY.match(line):
            found = [*section, *_parts(assignment["name"])]
        else:
            continue
        if len(found) > best and wanted[: len(found)] == found:
            best, line_of_best = len(found), number
    return line_of_best


def _parts(name: str) -> list[str]:
    return [part.strip().strip("\"'") for part in name.split(".")]


def line_of_pointer(json: str, pointer: str) -> int:
    """Return the line of the value at an RFC 6901 pointer, or else of the value nearest around it.

    The text must be valid JSON. It is read once, and the values on the way are not kept.
    """
    wanted = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    path: list[str | int] = []
    """The name or index of the value that comes next, in each open object or array."""
    best, line_of_best, line, end, name = -1, 1, 1, 0, ""
    for token in _TOKEN.finditer(json):
        line += json.count("\n", end, token.start())
        end = token.start()
        text = token[0]
        if text == ":":
            path[-1] = name
        elif text == ",":
            if isinstance(path[-1], int):
                path[-1] += 1
        elif text in "]}":
            path.pop()
        elif text[0] == '"' and _COLON.match(json, token.end()):
            name = orjson.loads(text)
        else:
            here = [str(step) for step in path]
            if len(here) > best and wanted[: len(here)] == here:
                best, line_of_best = len(here), line
            if text in "[{":
                path.append(0 if text == "[" else "")
    return line_of_best
