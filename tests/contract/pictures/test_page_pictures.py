"""What the port ``PagePictures`` promises, for the adapter and the fake."""

import io

import pypdf
import pytest

from reportd.adapters.page_pictures import PdfiumPictures
from reportd.ports import PagePictures
from tests.fakes.previews import A4, FakePictures


def two_sheets() -> bytes:
    """A PDF with two blank pages of A4, which has 210 by 297 mm."""
    writer = pypdf.PdfWriter()
    for _ in range(2):
        writer.add_blank_page(210 / 25.4 * 72, 297 / 25.4 * 72)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


@pytest.fixture(params=[PdfiumPictures, FakePictures])
def pictures(request: pytest.FixtureRequest) -> PagePictures:
    made: PagePictures = request.param()
    return made


async def test_each_page_has_its_size_in_css_pixels(pictures: PagePictures) -> None:
    assert await pictures.sizes(two_sheets()) == (A4, A4)


async def test_each_page_has_a_picture(pictures: PagePictures) -> None:
    for page in (0, 1):
        assert (await pictures.png(two_sheets(), page, 0.5)).startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("page", [-1, 2])
async def test_a_page_that_is_not_there_is_an_error(page: int, pictures: PagePictures) -> None:
    with pytest.raises(ValueError, match="2 pages"):
        await pictures.png(two_sheets(), page, 1.0)


async def test_what_is_no_pdf_is_an_error(pictures: PagePictures) -> None:
    with pytest.raises(ValueError, match="no PDF"):
        await pictures.sizes(b"GIF89a")
    with pytest.raises(ValueError, match="no PDF"):
        await pictures.png(b"GIF89a", 0, 1.0)
