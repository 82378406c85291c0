"""Whether a PDF shows anything, by what its content streams paint."""

import zlib

import pytest

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.core.pages.blank import MAX_BYTES, MAX_CONTENT_BYTES, blank_fault, is_blank


def pdf(*streams: bytes, dictionary: bytes = b"") -> bytes:
    objects = b""
    for number, stream in enumerate(streams, 1):
        data = zlib.compress(stream)
        objects += b"%d 0 obj\n<<%s /Filter /FlateDecode\n/Length %d>> stream\n%s\nendstream\nendobj\n" % (
            number,
            dictionary,
            len(data),
            data,
        )
    return b"%PDF-1.4\n" + objects + b"%%EOF"


MAP = b"/CIDInit\nbegincmap\n1 begincodespacerange\n<0000> <FFFF>\nendcodespacerange\n%s\nendcmap"
BEGIN = b".24 0 0 -.24 0 792 cm\nq\n115 115 2316 3066 re\nW* n\nq\n"
TEXT = BEGIN + b"0 0 0 rg\nBT\n/F4 16 Tf\n<0062> Tj\nET\nQ\nQ\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        BEGIN,
        BEGIN + b"1 1 1 RG 1 1 1 rg\n/G3 gs\n8 8 726 19 re\nf\n",
        BEGIN + b"1 g\n0 0 9 9 re\nf*\n1 G 0 0 m 9 9 l S",
        BEGIN + b"q 1 0 0 rg Q 1 1 1 rg q 0 0 9 9 re f Q",
        TEXT.replace(b"0 0 0 rg", b"1 1 1 rg"),
    ],
)
def test_white_and_nothing_are_blank(content: bytes) -> None:
    assert is_blank(pdf(content))
    assert is_blank(pdf(content, content))


@pytest.mark.parametrize(
    "content",
    [
        BEGIN + b"0 0 9 9 re f",
        BEGIN + b"1 1 1 rg 0 0 0 RG 0 0 m 9 9 l S",
        BEGIN + b"1 1 1 rg 1 1 1 RG .5 .5 .5 RG 0 0 9 9 re B",
        BEGIN + b"q 1 1 1 rg Q 0 0 9 9 re f",
        BEGIN + b"/Cs1 cs .1 .2 scn 0 0 9 9 re f",
        BEGIN + b"0 0 0 1 K 0 0 m 9 9 l S",
        BEGIN + b"/X5 Do",
        BEGIN + b"/Sh1 sh",
    ],
)
def test_anything_that_is_painted_is_not(content: bytes) -> None:
    assert not is_blank(pdf(b"", content))


def test_text_of_spaces_is_blank() -> None:
    assert is_blank(pdf(TEXT, MAP % b"1 beginbfchar\n<0062> <00A0>\nendbfchar"))
    assert is_blank(pdf(TEXT, MAP % b"1 beginbfrange\n<0062> <0063> <0020>\nendbfrange"))
    assert is_blank(pdf(TEXT, MAP % b"2 beginbfchar\n<0062> <00A0>\n<0B12> <202F>\nendbfchar"))
    assert not is_blank(pdf(TEXT, MAP % b"2 beginbfchar\n<0062> <00A0>\n<0063> <0041>\nendbfchar"))
    assert not is_blank(pdf(TEXT, MAP % b""))
    assert not is_blank(pdf(TEXT))


def test_a_large_pdf_is_not_looked_at() -> None:
    assert not is_blank(b"%PDF" + bytes(MAX_BYTES))


def test_fonts_and_images_are_no_content() -> None:
    square = BEGIN + b"0 0 9 9 re f"
    assert not is_blank(pdf(BEGIN, square))
    assert is_blank(pdf(BEGIN) + pdf(square, dictionary=b"/Length1 9"))
    assert is_blank(pdf(BEGIN) + pdf(square, dictionary=b"/Type /XObject\n/Subtype /Image"))


def test_what_would_take_too_long_to_read_is_not_blank() -> None:
    white = BEGIN + b"1 1 1 rg\n" + b"0 0 m 1 1 l h f\n" * 4000
    few, many = pdf(white), pdf(*[white] * (MAX_CONTENT_BYTES // len(white) + 1))
    assert is_blank(few)
    assert len(many) < MAX_BYTES
    assert not is_blank(many)


def test_boxes_in_place_of_characters_are_no_blank_sheet() -> None:
    space = MAP % b"1 beginbfchar\n<0003> <0020>\nendbfchar"
    assert is_blank(pdf(TEXT.replace(b"<0062>", b"<0003>"), space))
    assert not is_blank(pdf(TEXT.replace(b"<0062>", b"<00000003>"), space))


def test_a_blank_page_is_told_with_the_first_error_of_its_scripts() -> None:
    nothing = "nothing is painted on any of its pages"
    logo = JobWarning(WarningKind.RESOURCES, "https://app.test/logo.png", "answered 404")
    errors = [JobWarning(WarningKind.SCRIPTS, f"TypeError: {name}", "uncaught exception") for name in "ab"]
    assert blank_fault([logo]) == Fault(FaultKind.NOT_A_REPORT, nothing)
    assert blank_fault([logo, *errors]) == Fault(FaultKind.NOT_A_REPORT, f"{nothing}; a script failed: TypeError: a")
