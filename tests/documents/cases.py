"""The cases of ``corpus/``: a page as people print it, and what has to come out.

A case is a file. In an ``.html``, ``.xhtml`` or ``.svg`` it begins with a comment that holds the expectations as TOML;
the rest is the page. In a ``.toml`` there is nothing else, and ``answers`` has the page. The keys:

``says``: what the case proves. ``opened``: as ``template`` and as ``url``; a page with ``answers`` only as ``url``,
unless it says so. ``path``: of the URL. ``report``: keys of ``[reports.NAME]``. ``parameters``: of the job. ``fonts``:
patterns of fontconfig without which the case is skipped.
``answers``: what the server says, by path; a list of them is given one after the other, the last one again and again.
A path that begins with ``cdn`` is on another host. ``$SITE`` and ``$CDN`` stand for the addresses of both.

What comes out: ``warnings`` and ``sheets``, or ``fault``; and ``within_seconds``. What is not named must not be there:
no warning, no further sheet. A sheet without ``paper`` is A4.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reportd.config import ReportType
from tests.documents.sheets import Box

CORPUS = Path(__file__).with_name("corpus")

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".xhtml": "application/xhtml+xml",
    ".svg": "image/svg+xml",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
}
"""Media types by the end of a path, as servers have them."""

_COMMENT = re.compile(r"<!--\n(.*?)\n-->\n", re.DOTALL)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(Strict):
    """``page``: the case's own page. ``type``: by the path, if empty. ``seconds``: how late it comes."""

    body: str = ""
    page: bool = False
    status: int = 200
    type: str = ""
    redirect: str = ""
    headers: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0


class Point(Strict):
    at: tuple[float, float]
    colour: str


class ExpectedSheet(Strict):
    """``page``: its number, if not the next one. ``text``: all of it; ``has`` and ``lacks``: parts of it.

    ``words``: the left upper corner of a word that is there once. ``painted``: the box of all that is not white.
    """

    page: int = 0
    paper: tuple[float, float] = (210.0, 297.0)
    text: str | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    words: dict[str, tuple[float, float]] = Field(default_factory=dict)
    painted: Box | None = None
    points: tuple[Point, ...] = ()


class ExpectedWarning(Strict):
    kind: str
    what: str
    why: str
    count: int = 1


class ExpectedFault(Strict):
    kind: str
    says: str


class Case(Strict):
    """``page``: the content of the main document, if the case has one."""

    says: str
    path: str = "/report"
    opened: tuple[Literal["template", "url"], ...] = ()
    report: dict[str, Any] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    answers: dict[str, Answer | Annotated[list[Answer], Field(min_length=1)]] = Field(default_factory=dict)
    warnings: tuple[ExpectedWarning, ...] = ()
    sheets: tuple[ExpectedSheet, ...] = ()
    pages: int = 0
    fault: ExpectedFault | None = None
    within_seconds: float = 10.0
    fonts: tuple[str, ...] = ()
    xfail: str = ""
    page: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A case, opened in one way."""

    name: str
    case: Case
    way: str

    def __str__(self) -> str:
        return f"{self.name}, {self.way}"


def cases() -> list[Opened]:
    files = sorted(path for path in CORPUS.iterdir() if path.suffix in {".toml", ".html", ".xhtml", ".svg"})
    return [opened for file in files for opened in _read(file)]


def report_type(case: Case, way: str, url: str) -> ReportType:
    """The report type as the configuration would make it."""
    source = {"template": "page.html"} if way == "template" else {"url": url}
    return ReportType.model_validate({"timeout_seconds": 15, **case.report, **source})


def media_type(path: str) -> str:
    return TYPES.get(Path(path).suffix, TYPES[".html"])


def _read(file: Path) -> list[Opened]:
    text = file.read_text()
    if file.suffix == ".toml":
        case = Case.model_validate(tomllib.loads(text))
        ways = case.opened or ("url",)
    else:
        comment = _COMMENT.match(text)
        assert comment is not None, f"{file.name} does not begin with a comment"
        table = {"type": media_type(file.name), **tomllib.loads(comment[1]), "page": text[comment.end() :]}
        case = Case.model_validate(table)
        ways = case.opened or (("url",) if case.answers or file.suffix != ".html" else ("template", "url"))
    return [Opened(file.stem, case, way) for way in ways]
