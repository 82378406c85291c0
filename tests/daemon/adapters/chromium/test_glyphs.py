"""Characters that no font has, in PDFs of a real Chromium."""

import base64
import subprocess
import threading
import unicodedata
from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from typing import Any

import pytest
from pypdf import PdfReader

from reportd.adapters.chromium.page import glyphs as looking
from reportd.adapters.chromium.page import pdf as receiving
from reportd.adapters.chromium.page import printing
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages import glyphs as searching
from reportd.core.pages.glyphs import Boxes
from reportd.ports import Pdf, Ready
from tests.servers.chromium import Stage, on_stage, open_stage, request
from tests.servers.fonts import font_with

pytestmark = pytest.mark.browser

Rare = tuple[tuple[str, str], str]

RARE = ((0x10000, "Linear B"), (0x12F90, "Cypro Minoan"), (0x1E290, "Toto"), (0x10570, "Vithkuqi"))
"""Scripts that a machine has no font for, unless somebody needs it: letters, and the name of the script."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def covered() -> frozenset[int]:
    """The code points that fonts of this machine have."""
    listed = subprocess.run(["fc-list", "--format=%{charset} ", ":scalable=true"], capture_output=True, check=True)
    ranges = [[int(end, 16) for end in part.split("-")] for part in {*listed.stdout.decode().split()}]
    return frozenset(chain.from_iterable(range(ends[0], ends[-1] + 1) for ends in ranges))


@pytest.fixture(scope="module")
def rare(covered: frozenset[int]) -> Rare:
    """Two letters of a script that no font of this machine has, and its name."""
    code, script = next(each for each in RARE if each[0] not in covered)
    return (chr(code), chr(code + 1)), script


async def printed(stage: Stage, html: str, **options: Any) -> Pdf:
    async with stage.page() as page:
        pdf = await page.render(request(html=html, **options))
        assert page.activity == "idle"
        return pdf


def glyphs(pdf: Pdf) -> list[JobWarning]:
    return [warning for warning in pdf.warnings if warning.kind == WarningKind.GLYPHS]


def expected(script: str, *characters: str) -> str:
    return f"{script}: " + ", ".join(f"{each} U+{ord(each):04X}" for each in characters)


@pytest.mark.parametrize("family", ["Inter", "DejaVu Sans", "Noto Sans CJK SC"])  # of type 3, TrueType, and CFF
@pytest.mark.parametrize("script", ["", "<script>1</script>"])
@on_stage
async def test_a_character_that_no_font_has_is_named(stage: Stage, rare: Rare, family: str, script: str) -> None:
    (one, two), name = rare
    html = f"<body style=\"font-family:'{family}'\">{script}<p>Lamp {one} lamp {two}{two}<p>{one}"
    [warning] = glyphs(await printed(stage, html))
    assert warning.what == expected(name, one, two)
    assert warning.count == 4
    assert warning.why == "no font has these characters"


@on_stage
async def test_one_that_is_the_only_one_is_named_as_well(stage: Stage, rare: Rare) -> None:
    """The PDF itself does not say which one it is."""
    (one, two), name = rare
    [warning] = glyphs(await printed(stage, f"<title>ภ</title><style>/* {two} */</style><p>Fußgänger 灯具 {one} é ﬁ"))
    assert (warning.what, warning.count) == (expected(name, one), 1)


@on_stage
async def test_one_that_a_style_sheet_or_a_header_prints_is_seen_too(stage: Stage, rare: Rare) -> None:
    (one, _), _ = rare
    generated = f"<style>p::before {{ content: '{one}' }}</style><p>Lamp"
    [warning] = glyphs(await printed(stage, generated))
    assert warning.what == "a character that is not in the page's text"
    header = {"displayHeaderFooter": True, "headerTemplate": f"<p style='font-size:10px'>{one}</p>"}
    assert len(glyphs(await printed(stage, "<p>Lamp", print_parameters=header))) == 1


@on_stage
async def test_one_in_a_group_or_a_frame_is_seen_too(stage: Stage, rare: Rare) -> None:
    (one, two), name = rare
    [warning] = glyphs(await printed(stage, f"<p style='opacity:.5'>{one}{two}"))
    assert warning.what == expected(name, one, two)
    loaded = Ready("expression", "document.querySelector('iframe').contentDocument.querySelector('p')")
    [warning] = glyphs(await printed(stage, f"<iframe srcdoc='<p>{one}{two}'></iframe>", ready=loaded))
    assert warning.count == 2


@on_stage
async def test_a_web_font_that_has_it_is_a_font(stage: Stage, rare: Rare) -> None:
    (one, two), name = rare
    data = base64.b64encode(font_with(one)).decode()
    face = f"<style>@font-face {{ font-family: Own; src: url(data:font/ttf;base64,{data}) }} b {{ font-family: Own }}"
    pdf = await printed(stage, f"{face}</style><p>Lamp <b>{one}</b>")
    assert glyphs(pdf) == []
    assert one in PdfReader(BytesIO(pdf.data or b"")).pages[0].extract_text()
    [warning] = glyphs(await printed(stage, f"{face}</style><p>Lamp <b>{one}{two}</b>"))
    assert warning.what == expected(name, two)


HARMLESS = {
    "Latin": "Fußgänger ﬁ ffi œ Ź ŉ ǆ",
    "combining marks": "e\u0301 x\u0301\u0323 n\u0303o a\u034fb",
    "soft hyphens": "Donau\u00addampf\u00adschiff " * 40,
    "joiners": "a\u200db a\u200cb a\u200bb a\u2060b \ufeffc",
    "directions": "\u200ea\u200f \u202ab\u202c \u2066c\u2069 \u061c",
    "selectors": "a\ufe0f 1\ufe0f b\ufe0e \u4e00\ufe00",
    "spaces": "a\u00a0b\u2007c\u202fd\u3000e\u2028f\u2029g\th\ni",
    "Chinese, Japanese, Korean": "灯具 ランプ ﾗﾝﾌﾟ 램프 \u1105\u1162\u11b7",
    "Cyrillic and Greek": "Лампа й и\u0306 Λάμπα ω\u0301",
    "Arabic": "مصباح لا إله ﷲ مِصْبَاح ـــ",
    "Hebrew": "מְנוֹרָה",
    "Thai": "โคมไฟ น้ำ",
    "Devanagari": "दीपक क्ष त्र क\u094d\u200dष हिन्दी",
    "symbols": "☐ ☑ ✓ → ≤ € ₹ ★ ⚠",
    "emoji": "😀 👍🏽 👩\u200d👩\u200d👧 🇩🇪 ❤\ufe0f 1\ufe0f\u20e3",
}


@pytest.fixture(params=list(HARMLESS.values()), ids=list(HARMLESS))
def harmless(request: pytest.FixtureRequest, covered: frozenset[int]) -> str:
    """A text all of which fonts of this machine have."""
    text = str(request.param)
    visible = {
        one for one in text if unicodedata.category(one)[0] not in "CZ" and one not in "\u034f\ufe00\ufe0e\ufe0f"
    }
    if lacking := {one for one in visible if ord(one) not in covered}:
        pytest.skip(f"no font has {lacking}")
    return text


@pytest.mark.parametrize("style", ["", "text-transform: uppercase", "letter-spacing: 2px; font-variant: small-caps"])
@pytest.mark.parametrize("family", ["Inter", "DejaVu Sans"])
@on_stage
async def test_what_fonts_have_gives_no_warning(stage: Stage, harmless: str, style: str, family: str) -> None:
    html = f"<p style=\"font-family:'{family}';{style}\">{harmless}<pre>{harmless}"
    assert glyphs(await printed(stage, html)) == []


@on_stage
async def test_a_large_pdf_is_searched_in_its_file(stage: Stage, rare: Rare, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, two), name = rare
    monkeypatch.setattr(receiving, "IN_MEMORY_BYTES", 1)
    pdf = await printed(stage, f"<p>{one}{two}")
    assert pdf.path is not None
    assert glyphs(pdf)[0].what == expected(name, one, two)
    pdf.discard()


@on_stage
async def test_a_long_text_is_searched_in_a_thread(stage: Stage, rare: Rare, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, two), _ = rare
    searched: list[int] = []

    def find_boxes(pdf: bytes, *, max_bytes: int) -> Boxes | None:
        searched.append(threading.get_ident())
        return searching.find_boxes(pdf, max_bytes=max_bytes)

    monkeypatch.setattr(looking, "find_boxes", find_boxes)
    [warning] = glyphs(await printed(stage, f"<p>{one}{two}"))
    assert searched == [threading.get_ident()]
    monkeypatch.setattr(looking, "MAX_BYTES_AT_ONCE", 10)
    assert glyphs(await printed(stage, f"<p>{one}{two}")) == [warning]
    assert searched[1] == threading.get_ident() != searched[2]


@on_stage
async def test_a_search_that_fails_leaves_no_file(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(receiving, "IN_MEMORY_BYTES", 1)
    monkeypatch.setattr(printing, "missing_glyphs", fail)
    with pytest.raises(ZeroDivisionError):
        await printed(stage, "<p>Lamp")
    assert not list(stage.data_dir.glob("spool/*"))
