"""The pictures of TEMPLATES.md, made of the very snippets and tables that stand above them.

``make pictures`` draws them anew. A picture is compared in squares of some pixels, so that another edge of a letter is
no difference, and another word, colour or place is.
"""

import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

import orjson
import trio

from reportd.adapters.chromium import ChromiumSettings, open_launcher
from reportd.adapters.templates.templates import Templates
from reportd.config import PdfOptions
from reportd.core.pages.template_context import TemplateContext
from reportd.ports import RenderRequest
from tests.documents.blocks import DOCS, blocks_of
from tests.documents.sheets import Drawing, drawings_of
from tests.servers.chromium import request

TEMPLATES = DOCS / "TEMPLATES.md"
PER_INCH = 144
"""One and a half pixels per CSS pixel."""

SQUARE = 6
ANOTHER = 24
"""By how much, of 255, the mean of a square differs that is another one."""

_PICTURE = re.compile(r"!\[[^\]]+\]\(images/templates/(\w+)\.png\)")
_ROW = re.compile(r"\| (`.*\\\|.*`) \| .+ \|")
_LANGUAGES = ("", "de-DE", "zh-CN", "ar-EG")
_LOOK = """<!doctype html><meta charset="utf-8"><style>
html { font: 8.5pt/1.4 Inter, "Noto Sans CJK SC", "Noto Sans Arabic", sans-serif; color: #1c2530; }
body { margin: 0; padding: 12px 14px; }
table { border-spacing: 0; font-variant-numeric: tabular-nums; }
td { padding: 3px 0 3px 14px; border-bottom: .5pt solid #e1e6eb; text-align: right; white-space: nowrap; }
td:first-child { padding-left: 0; text-align: left; }
th { font-weight: 500; font-size: 7.5pt; color: #5a6572; text-align: right; padding: 0 0 3px 18px; }
tr:first-child th { border-bottom: .8pt solid #1c2530; }
code { font: 6.8pt "Noto Sans Mono", monospace; }
</style><body>"""
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """``name``: of its file. ``html``: what it shows."""

    name: str
    html: str

    @property
    def file(self) -> Path:
        return DOCS / "images" / "templates" / f"{self.name}.png"


def pictures() -> Iterator[Picture]:
    """Return the pictures in the order of the document."""
    sample = _sample()
    snippets = iter([block.text for block in blocks_of(TEMPLATES, "jinja")])
    above, rows = "", list[str]()
    for line in TEMPLATES.read_text().splitlines():
        if line == "```jinja":
            above, rows = next(snippets), []
        elif row := _ROW.fullmatch(line):
            above, rows = "", [*rows, row[1].replace("\\|", "|")]
        elif line.startswith("#"):
            rows = []
        elif picture := _PICTURE.fullmatch(line):
            yield Picture(picture[1], _LOOK + (_made(above, sample) if above else _in_languages(rows)))


def wanted(picture: Picture) -> RenderRequest:
    """Return the request of a sheet that is as high as the picture."""
    pdf = PdfOptions(width="178mm", height="content", margin="0mm")
    return request(html=picture.html, print_parameters=pdf.print_parameters(), content_height=True, fixed_paper=True)


def drawn(pdf: bytes) -> Drawing:
    (drawing,) = drawings_of(pdf, per_inch=PER_INCH)
    return drawing


def difference(one: Drawing, other: Drawing) -> float:
    """Return the share of squares that differ; 1 for drawings of another size."""
    if one.width != other.width or abs(one.height - other.height) > 1:
        return 1.0
    columns, rows = one.width // SQUARE, min(one.height, other.height) // SQUARE
    pairs = [pair for row in range(rows) for pair in zip(_means(one, row), _means(other, row), strict=True)]
    return sum(abs(a - b) > ANOTHER for a, b in pairs) / (3 * columns * rows)


def _means(drawing: Drawing, row: int) -> list[float]:
    """Return the mean of each colour in each square of a row of squares."""
    stride = drawing.width * 3
    start = row * SQUARE * stride
    lines = [drawing.pixels[start + n * stride : start + (n + 1) * stride] for n in range(SQUARE)]
    sums = list(map(sum, zip(*lines, strict=True)))
    size = 3 * SQUARE
    ends = range(0, drawing.width // SQUARE * size, size)
    return [sum(sums[end + colour : end + size : 3]) / SQUARE**2 for end in ends for colour in range(3)]


def read_png(png: bytes) -> Drawing:
    """Return what ``png_of`` wrote."""
    width, height = struct.unpack(">II", png[16:24])
    (size,) = struct.unpack(">I", png[33:37])
    data = zlib.decompress(png[41 : 41 + size])
    row = width * 3 + 1
    return Drawing(width, height, b"".join(data[start + 1 : start + row] for start in range(0, height * row, row)))


def png_of(drawing: Drawing) -> bytes:
    """Return a PNG (ISO/IEC 15948) in three chunks, whose rows are not filtered."""
    row = drawing.width * 3
    rows = b"".join(b"\0" + drawing.pixels[start : start + row] for start in range(0, drawing.height * row, row))
    head = struct.pack(">IIBBBBB", drawing.width, drawing.height, 8, 2, 0, 0, 0)
    return _PNG + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _sample() -> dict[str, object]:
    (block,) = [block for block in blocks_of(TEMPLATES, "json") if block.heading == "Rows"]
    sample: dict[str, object] = orjson.loads(block.text)
    return sample


def _made(text: str, parameters: dict[str, object], locale: str = "") -> str:
    return Templates([]).render("snippet", parameters, TemplateContext(locale=locale), text=text)


def _in_languages(rows: list[str]) -> str:
    """Return a table of what the filters write in some languages."""
    codes = [code for row in rows for code in re.findall("`([^`]+)`", row)]
    heads = "".join(f"<th>{locale or 'no locale'}</th>" for locale in _LANGUAGES)
    body = "".join(
        f"<tr><td><code>{escape(code)}</code></td>"
        + "".join(f"<td><bdi>{_made(f'{{{{ {code} }}}}', {}, locale)}</bdi></td>" for locale in _LANGUAGES)
        for code in codes
    )
    return f"<table><tr><th></th>{heads}</tr>{body}</table>"


async def _draw_anew() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            open_launcher(ChromiumSettings(), Path(folder), lambda _host, _port: False) as launcher,
            launcher.launch() as browser,
            browser.page() as page,
        ):
            for picture in pictures():
                pdf = await page.render(wanted(picture))
                assert pdf.data is not None
                picture.file.parent.mkdir(parents=True, exist_ok=True)
                picture.file.write_bytes(png_of(drawn(pdf.data)))
                await page.scrub()


if __name__ == "__main__":
    trio.run(_draw_anew)
