"""Where an error is, from its message, from a key of TOML, from a pointer into JSON."""

import json
import time

import pytest

from reportd.core.preview.places import Place, line_of_key, line_of_pointer, place_in, pointer_in


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("invoice.html, line 12: 'numbr' is undefined", Place("invoice.html", 12)),
        ("parts/my table.html, line 3: unexpected '}'; accepted: a Jinja template", Place("parts/my table.html", 3)),
        ("reportd.toml: reports.x.template: a.html, line 7: no", Place("a.html", 7)),
        ("line 4, column 7: is not TOML: Expected '='", Place("", 4)),
        ("unexpected character: line 2 column 5 (char 9)", Place("", 2)),
        ("the pipeline 4 is closed", None),
        ("", None),
    ],
)
def test_a_message_names_its_place(message: str, place: Place | None) -> None:
    assert place_in(message) == place


TOML = """\
data_dir = "x"
[http]
bind = "127.0.0.1:80"

[reports.invoice]
template = "invoice.html"
pdf.landscape = true
[reports.other]
template = "other.html"
[reports."other".pdf]
format = "A4"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("data_dir", 1),
        ("http.bind", 3),
        ("reports.invoice.template", 6),
        ("reports.invoice.pdf.landscape", 7),
        ("reports.invoice.pdf.format", 5),
        ("reports.invoice.url", 5),
        ("reports.other.template", 9),
        ("reports.other.pdf.format", 11),
        ("pool.browsers", 1),
    ],
)
def test_a_key_has_the_line_that_sets_it_or_its_section(key: str, line: int) -> None:
    assert line_of_key(TOML, key) == line


JSON = """\
{
  "number": "2025, \\"a\\": {",
  "lines": [
    {"text": "x", "price": 1},
    {
      "text": "y", "a/b~c" :
        [ [], true ]
    }
  ],
  "empty": {}, "last": null
}
"""


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("", 1),
        ("/number", 2),
        ("/lines", 3),
        ("/lines/0/price", 4),
        ("/lines/1", 5),
        ("/lines/1/text", 6),
        ("/lines/1/a~1b~0c", 7),
        ("/lines/1/a~1b~0c/1", 7),
        ("/lines/1/missing", 5),
        ("/lines/9/text", 3),
        ("/empty/x", 10),
        ("/last", 10),
        ("/missing", 1),
    ],
)
def test_a_pointer_has_the_line_of_its_value_or_of_the_value_around_it(pointer: str, line: int) -> None:
    json.loads(JSON)
    assert line_of_pointer(JSON, pointer) == line


def test_a_megabyte_is_read_in_a_moment() -> None:
    text = json.dumps({"rows": [{"name": f"row {number}", "value": number} for number in range(30000)]}, indent=1)
    begun = time.thread_time()
    assert line_of_pointer(text, "/rows/29999/value") == text.count("\n") - 2
    assert time.thread_time() - begun < 3


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ("/a/b.json is not a JSON Schema at /properties/n/type: 'x' is no type; accepted: y", "/properties/n/type"),
        ("/a/b.json has requird at its top, which checks nothing; did you mean required?", "/requird"),
        ("/a/b.json has minItem at /properties/n, which checks nothing", "/properties/n/minItem"),
        ("/a/b.json is not a JSON Schema: Pointer '/x' does not exist", ""),
    ],
)
def test_a_message_names_a_place_in_a_schema(message: str, pointer: str) -> None:
    assert pointer_in(message) == pointer
