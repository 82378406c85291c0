"""What a page says about itself is in its PDF, and a PDF that is unlike Chromium's is left as it is."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from reportd.core.pages.pdf_metadata import MAX_TEXT, Metadata, update

OBJECTS = [
    b"<</Title (report)\n/Creator (Chromium)>>",
    b"<</Type /Page\n/MediaBox [0 0 612 792]\n/Parent 3 0 R>>",
    b"<</Type /Pages\n/Count 1\n/Kids [2 0 R]>>",
    b"<</Type /Catalog\n/Pages 3 0 R>>",
]


def pdf(*objects: bytes) -> bytes:
    """As Chromium writes it."""
    data, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects or OBJECTS, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return data + b"trailer\n<</Size %d\n/Root 4 0 R\n/Info 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(offsets) + 1,
        table,
    )


def updated(data: bytes, metadata: Metadata) -> bytes:
    return data + update(lambda start, size: data[start : start + size], len(data), metadata)


def test_it_is_added_to_what_is_there() -> None:
    data = updated(pdf(), Metadata("Ada Lovelace", "Umsätze 四月", "a, b", "zh-Hant-TW"))
    reader = PdfReader(BytesIO(data), strict=True)
    assert reader.metadata == {
        "/Title": "report",
        "/Creator": "Chromium",
        "/Author": "Ada Lovelace",
        "/Subject": "Umsätze 四月",
        "/Keywords": "a, b",
    }
    assert str(reader.root_object["/Lang"]) == "zh-Hant-TW"
    assert len(reader.pages) == 1


@given(st.builds(Metadata, st.text(), st.text(), st.text(), st.text() | st.sampled_from(["de", "en-GB"])))
def test_any_text_leaves_a_pdf_that_can_be_read(metadata: Metadata) -> None:
    reader = PdfReader(BytesIO(updated(pdf(), metadata)), strict=True)
    assert reader.metadata is not None
    author = metadata.author.strip()[:MAX_TEXT]
    assert (reader.metadata.author or "") == author.encode("utf-16-be", "replace").decode("utf-16-be", "replace")
    assert len(reader.pages) == 1


@pytest.mark.parametrize("metadata", [Metadata(), Metadata(" ", "\n", "", "no language"), Metadata(language="(x")])
def test_nothing_said_changes_nothing(metadata: Metadata) -> None:
    assert updated(pdf(), metadata) == pdf()


def test_a_language_that_chromium_has_written_stays() -> None:
    data = pdf(*OBJECTS[:3], b"<</Type /Catalog\n/Pages 3 0 R\n/Lang (de)>>")
    assert updated(data, Metadata(language="en")) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%PDF-1.7\n%%EOF\n",
        pdf().replace(b"xref\n0 5", b"xref\n0 9"),
        pdf().replace(b"00000 n \n", b"00001 n \n"),
        pdf().replace(b"1 0 obj\n", b"8 0 obj\n").replace(b"4 0 obj\n", b"9 0 obj\n"),
        pdf().replace(b"startxref\n", b"startxref\n9"),
    ],
)
def test_another_form_is_left_as_it_is(data: bytes) -> None:
    assert updated(data, Metadata("Ada", language="de")) == data
