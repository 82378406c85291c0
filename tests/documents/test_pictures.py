"""The pictures of TEMPLATES.md show what its snippets and tables make now."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.documents.blocks import blocks_of
from tests.documents.pictures import TEMPLATES, Picture, difference, drawn, pictures, png_of, read_png, wanted
from tests.documents.sheets import Drawing
from tests.servers.chromium import Stage, open_stage

PICTURES = list(pictures())
NOT_SHOWN = {"{# footer.html #}", "<style>"}
"""How a snippet begins that has no picture: what it makes is in the margin of a page."""

MOST = 0.0002
"""The share of squares that may differ: on another machine an edge may be elsewhere."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.browser
@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_shows_what_is_written_above_it(stage: Stage, picture: Picture) -> None:
    kept = read_png(picture.file.read_bytes())
    assert difference(drawn(_printed(stage, picture)), kept) <= MOST, "make pictures draws them anew"


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("bars", "North", "Worth"), ("bars", "#12455a", "#8c3b4a"), ("stacked", "Apr", "May"), ("numbers", "Mio", "Mrd")],
)
def test_another_word_or_colour_makes_another_picture(stage: Stage, name: str, before: str, after: str) -> None:
    (picture,) = [picture for picture in PICTURES if picture.name == name]
    assert before in picture.html
    changed = replace(picture, html=picture.html.replace(before, after))
    kept = read_png(picture.file.read_bytes())
    assert difference(drawn(_printed(stage, changed)), kept) > MOST


def test_each_snippet_has_a_picture_and_each_picture_is_shown() -> None:
    snippets = [block for block in blocks_of(TEMPLATES, "jinja") if block.first_line not in NOT_SHOWN]
    tables = re.findall(r"in four languages\]", TEMPLATES.read_text())
    assert len(snippets) + len(tables) == len(PICTURES)
    folder = PICTURES[0].file.parent
    assert sorted(folder.iterdir()) == sorted(picture.file for picture in PICTURES)


def test_a_picture_is_read_as_it_was_written() -> None:
    drawing = Drawing(3, 2, bytes(range(18)))
    assert read_png(png_of(drawing)) == drawing
    assert difference(drawing, replace(drawing, width=2)) == 1


def _printed(stage: Stage, picture: Picture) -> bytes:
    async def printed() -> bytes:
        async with stage.page() as page:
            pdf = await page.render(wanted(picture))
            assert pdf.warnings == ()
            assert pdf.data is not None
            return pdf.data

    return stage.portal.call(printed)
