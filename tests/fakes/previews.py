"""A preview over real files, without a browser: the configuration is read and checked as the command does it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from reportd.app.checks import folders_of
from reportd.app.preview import Reader, Wanted
from reportd.concurrency.nurseries import open_background
from reportd.config import load_from
from reportd.preview.preview import Preview
from reportd.preview.view import View
from tests.fakes.checking import inline_checker
from tests.fakes.rendering import FakeRenderer

A4 = (794, 1123)
TEMPLATE = "<title>{{ number }}</title>\n{% for line in lines %}\n<p>{{ line }}</p>\n{% endfor %}\n"
SCHEMA = '{"type": "object", "additionalProperties": false, "properties": {"number": {"type": "string"}, "lines": {}}}'
SAMPLE = '{\n  "number": "42",\n  "lines": ["one"]\n}\n'
CONFIG = '[reports.note]\ntemplate = "note.html"\nparameters_schema = "note.schema.json"\n'


class FakePictures:
    """Every PDF has two pages."""

    async def sizes(self, pdf: bytes) -> tuple[tuple[int, int], ...]:
        _check(pdf)
        return (A4, A4)

    async def png(self, pdf: bytes, page: int, scale: float) -> bytes:
        _check(pdf)
        if page not in (0, 1):
            raise ValueError("it has 2 pages")
        return b"\x89PNG\r\n\x1a\n page %d at %.1f" % (page, scale)


def _check(pdf: bytes) -> None:
    if not pdf.startswith(b"%PDF"):
        raise ValueError("it is no PDF")


@dataclass
class Scene:
    """``folder`` holds the files of the type ``note``."""

    folder: Path
    preview: Preview
    renderer: FakeRenderer
    pictures: FakePictures

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def until_still(self) -> View:
        """Wait until nothing is being printed."""
        while self.preview.view.busy:
            await self.preview.changed.wait()
        return self.preview.view

    async def after(self, name: str, text: str) -> View:
        """Save a file, and wait for what comes of it."""
        self.write(name, text)
        before = self.preview.view.number
        self.preview.again()
        while self.preview.view.number == before:
            await self.preview.changed.wait()
        return await self.until_still()


@asynccontextmanager
async def open_scene(
    folder: Path,
    *,
    parameters: str = "",
    config: str = CONFIG,
    report_type: str = "note",
    seconds: float = 1.0,
    **fields: str,
) -> AsyncIterator[Scene]:
    """Start a preview.

    ``parameters``: the name of their file; ``seconds``: how long a print takes; ``fields``: of the submission.
    """
    for name, text in (
        ("note.html", TEMPLATE),
        ("note.schema.json", SCHEMA),
        ("note.sample.json", SAMPLE),
        ("reportd.toml", config),
    ):
        (folder / name).write_text(text)
    given = folder / parameters if parameters else None
    wanted = Wanted(report_type, given, fields, 0)
    environ = {"HOME": str(folder)}
    folders = folders_of(load_from(folder / "reportd.toml", environ))
    reader = Reader(lambda: load_from(folder / "reportd.toml", environ), wanted, folders, inline_checker(folders))
    renderer, pictures = FakeRenderer(), FakePictures()
    renderer.seconds = seconds
    preview = Preview(report_type, reader.read, folders, renderer, pictures, options=fields, clock=lambda: 1000.0)
    async with open_background() as nursery:
        nursery.start_soon(preview.run)
        with trio.fail_after(60):
            scene = Scene(folder, preview, renderer, pictures)
            await scene.until_still()
            yield scene
