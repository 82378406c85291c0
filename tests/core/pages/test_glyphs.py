"""Boxes in PDFs as Skia writes them, made by hand."""

import mmap
import tempfile
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages import pdf_streams
from reportd.core.pages.glyphs import Boxes, find_boxes, missing_characters, warning_of
from reportd.core.pages.pdf_streams import TooLongError, content_streams

FONT = b"<</Length1 5392\n/Filter /FlateDecode\n"
IMAGE = b"<</Type /XObject\n/Subtype /Image\n/Width 1\n/Filter /FlateDecode\n"
FORM = b"<</Type /XObject\n/Subtype /Form\n/Resources <</ProcSet [/PDF /Text /ImageB]\n/Font <</F4 4 0 R>>>>\n"
CONTENT = b"<</Filter /FlateDecode\n"


def obj(data: bytes, dictionary: bytes = CONTENT) -> bytes:
    packed = zlib.compress(data)
    return b"7 0 obj\n%s/Length %d>> stream\n%s\nendstream\nendobj\n" % (dictionary, len(packed), packed)


def pdf(*objects: bytes) -> bytes:
    return b"%PDF-1.4\n" + b"".join(objects) + b"trailer\n<</Size 59>>\n%%EOF"


def show(*glyphs: str) -> bytes:
    strings = "".join(f"<{each}> Tj\n9 0 Td " for each in glyphs)
    return f"BT\n/F4 16 Tf\n{strings}\nET\n".encode()


def span(text: str, *glyphs: str) -> bytes:
    encoded = text.encode("utf-16-be").hex().upper().encode()
    return b"/Span<</ActualText <FEFF%s> >> BDC\n%sEMC\n" % (encoded, show(*glyphs))


def mapping(*lines: str, kind: str = "char") -> bytes:
    """The mapping of a font's glyphs to characters. Its range of codes looks like boxes."""
    head = "/CIDInit /ProcSet findresource begin\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n"
    return "\n".join([head, f"{len(lines)} beginbf{kind}", *lines, f"endbf{kind}\n"]).encode()


@pytest.mark.parametrize(
    ("glyphs", "count"),
    [
        (["00"], 1),
        (["A1", "00", "00"], 2),
        (["0000"], 1),
        (["00440000"], 1),
        (["000000440000"], 2),
        (["01", "0F", "F0"], 0),
        (["0012", "1200", "01000010", "A00001"], 0),
        (["004400000044" * 1000], 1000),
    ],
)
def test_glyph_0_is_a_box(glyphs: Sequence[str], count: int) -> None:
    boxes = find_boxes(pdf(obj(show(*glyphs))))
    assert (boxes.count if boxes else 0) == count


@given(st.lists(st.lists(st.integers(0, 3).map(lambda one: one * 0x100), min_size=1), min_size=1))
def test_boxes_are_counted_wherever_they_are(strings: list[list[int]]) -> None:
    zeros = sum(string.count(0) for string in strings)
    boxes = find_boxes(pdf(*(obj(show("".join(f"{glyph:04X}" for glyph in string))) for string in strings)))
    assert (boxes.count if boxes else 0) == zeros


def test_a_form_is_searched_but_no_image_font_or_mapping() -> None:
    box = show("00")
    for dictionary, found in ((FORM + CONTENT[2:], True), (IMAGE, False), (FONT, False)):
        assert (find_boxes(pdf(obj(box, dictionary))) is not None) is found
    assert find_boxes(pdf(obj(mapping("<00> <0041>")))) is None
    # What looks like a stream within an image is not one.
    assert find_boxes(pdf(b"7 0 obj\n%s/Length 400>> stream\n" % IMAGE, obj(box), b" " * 400)) is None


def test_of_a_form_with_many_fonts_the_length_is_read() -> None:
    fonts = b"".join(b"/F%d %d 0 R\n" % (one, one) for one in range(5000))
    assert find_boxes(pdf(obj(show("00"), FORM + fonts + CONTENT[2:]))) is not None


def test_the_characters_of_boxes_are_those_that_the_pdf_names_and_those_that_it_does_not_print() -> None:
    content = show("A1", "00") + span("ข", "00") + span("ffi", "0C") + span("e\u0301", "0D")
    cmaps = mapping("<A1> <0048>", "<A2> <00660066>"), mapping("<0044> <0046> <0061>", kind="range")
    boxes = find_boxes(pdf(obj(content), *map(obj, cmaps)))
    assert boxes == Boxes(2, frozenset("ข"), frozenset("Hfabcie\u0301"))
    assert missing_characters(boxes, "Habcกข h\u00ad\u200d\ufe0f\n\u00a0") == {"ก", "ข"}


def test_of_a_letter_and_its_mark_only_the_box_is_missing() -> None:
    boxes = find_boxes(pdf(obj(span("ก\u0301", "00", "FD")), obj(mapping("<FD> <0301>"))))
    assert boxes is not None
    assert missing_characters(boxes, "") == {"ก"}


def test_letters_that_a_style_changes_to_capitals_are_printed() -> None:
    boxes = Boxes(1, frozenset(), frozenset("É"))
    assert missing_characters(boxes, "éก") == {"ก"}


def test_a_text_outside_of_unicode_is_read_as_the_pdf_has_it() -> None:
    boxes = find_boxes(pdf(obj(b"/Span<</ActualText <07> >> BDC\n<00> Tj\nEMC\n")))
    assert boxes is not None
    assert boxes.characters == {"\x07"}


def test_the_warning_names_scripts_and_characters() -> None:
    why = "no font has these characters"
    assert warning_of(Boxes(3, frozenset("ก"), frozenset("H")), "H☐") == JobWarning(
        WarningKind.GLYPHS, "Thai: ก U+0E01; Symbols: ☐ U+2610", why, 3
    )
    unknown = "a character that is not in the page's text"
    assert warning_of(Boxes(1, frozenset(), frozenset("H")), "H") == JobWarning(WarningKind.GLYPHS, unknown, why, 1)


def test_a_long_stream_is_read_in_pieces_of_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_streams, "PIECE_BYTES", 50)
    content = show(*["0044"] * 500, "0000", *["0044"] * 500) + b"no end of line"
    pieces = list(content_streams(pdf(obj(content))))
    assert b"".join(pieces) == content
    assert len(pieces) > 100
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    boxes = find_boxes(pdf(obj(content)))
    assert boxes is not None
    assert boxes.count == 1
    assert b"".join(content_streams(pdf(obj(b"a" * 1000)))) == b"a" * 1000


@given(st.integers(1, 400))
def test_a_stream_is_found_wherever_the_search_is_cut(size: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pdf_streams, "_SEARCH_BYTES", size)
        assert [*filter(None, content_streams(pdf(b"x" * 300, obj(show("00")), obj(show("01")))))] == [
            show("00"),
            show("01"),
        ]


def test_what_follows_the_pages_is_read_only_for_the_characters() -> None:
    fonts = b"4 0 obj\n<</Type /Catalog\n/Pages 15 0 R>>\nendobj\n", obj(mapping("<A1> <0048>")), obj(show("00"))
    assert find_boxes(pdf(obj(show("A1")), *fonts)) is None
    assert find_boxes(pdf(obj(show("00")), *fonts)) == Boxes(1, frozenset(), frozenset("H"))


def test_a_search_ends_where_it_is_told_to() -> None:
    content = show("A1")
    two = pdf(obj(content), obj(content))
    assert find_boxes(two, max_bytes=2 * len(content)) is None
    with pytest.raises(TooLongError):
        find_boxes(two, max_bytes=2 * len(content) - 1)


def test_a_file_is_read_where_it_is() -> None:
    content = pdf(obj(show("00") + span("ก", "00")))
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert find_boxes(mapped) == find_boxes(content) == Boxes(2, frozenset("ก"), frozenset())


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b">> stream\n",
        b"7 0 obj\n<</Filter /FlateDecode\n/Length 12 0 R>> stream\n",
        b"7 0 obj\n<</Filter /FlateDecode\n/Length 9>> stream\nnot Flate",
        b"7 0 obj\n<</Length 9>> stream\n<00> Tj\n\n",
        obj(show("00"))[:60],
    ],
)
def test_what_can_not_be_read_is_skipped(broken: bytes) -> None:
    assert find_boxes(broken) is None
    assert find_boxes(broken + b"\n" * 20 + pdf(obj(show("00")))) is not None


part = st.sampled_from(
    [b"<", b">", b"00", b"0000", b"FEFF", b"D8", b"/ActualText ", b" >> BDC\n", b"EMC", b"> <", b"\n"]
)


@given(st.lists(part).map(b"".join), st.lists(part).map(b"".join))
def test_no_stream_is_an_error(content: bytes, lines: bytes) -> None:
    cmap = b"/CIDInit\nbeginbfrange\n%s\n<0000> <FFFF> <DBFFDFFF>\nendbfrange" % lines
    find_boxes(pdf(obj(show("00") + content), obj(cmap)))
