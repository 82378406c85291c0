"""The ``[reports.NAME.pdf]`` table, and Chromium's print parameters derived from it.

Called by ``intake.report_types``, through ``PdfOptions.print_parameters``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from reportd.config.section import Accepts, Conflict, Section
from reportd.config.values import Flag, Number, below_folder
from reportd.core.pages.print_templates import is_file, unloadable_as_written

# Width and height in inches, as Puppeteer has them.
_PAPERS: dict[str, tuple[float, float]] = {
    "Letter": (8.5, 11.0),
    "Legal": (8.5, 14.0),
    "Tabloid": (11.0, 17.0),
    "Ledger": (17.0, 11.0),
    "A0": (33.1102, 46.811),
    "A1": (23.3858, 33.1102),
    "A2": (16.5354, 23.3858),
    "A3": (11.6929, 16.5354),
    "A4": (8.2677, 11.6929),
    "A5": (5.8268, 8.2677),
    "A6": (4.1339, 5.8268),
}
BLANK = "<span></span>"
"""An empty header or footer: for an empty text Chromium prints title, date and URL."""

_PER_INCH = {"mm": 25.4, "cm": 2.54, "in": 1.0, "px": 96.0}
_MAX_INCHES = 200.0  # the largest page of PDF 1.7, 14,400 units (ISO 32000-1 annex C.2)
CONTENT = "content"
"""The height of a sheet that is as high as its content."""

_MARGINS = {1: (0, 0, 0, 0), 2: (0, 1, 0, 1), 3: (0, 1, 2, 1), 4: (0, 1, 2, 3)}


def _inches(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(mm|cm|in|px)|0", text)
    if match is None:
        raise ValueError("is not a length")
    inches = float(match[1]) / _PER_INCH[match[2]] if match[2] else 0.0
    if inches > _MAX_INCHES:
        raise ValueError("is longer than 200in, the most a PDF page can have")
    return inches


def _length(text: str) -> str:
    if text and _inches(text) == 0:
        raise ValueError("is 0")
    return text


def _height(text: str) -> str:
    return text if text == CONTENT else _length(text)


def _sides(text: str) -> tuple[float, float, float, float]:
    lengths = [_inches(part) for part in text.split()]
    if len(lengths) not in _MARGINS:
        raise ValueError("is not one to four lengths")
    top, right, bottom, left = (lengths[index] for index in _MARGINS[len(lengths)])
    return top, right, bottom, left


def _margin(text: str) -> str:
    _sides(text)
    return text


def _page_ranges(text: str) -> str:
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"\s*([1-9][0-9]{0,5})\s*(?:-\s*([1-9][0-9]{0,5})\s*)?", part)
        if match is None:
            raise ValueError("is not a list of pages")
        if int(match[2] or match[1]) < int(match[1]):
            raise ValueError("has a range whose end is below its start")
    return text


def _inline_html(text: str) -> str:
    if is_file(text):
        return below_folder(text)
    if found := unloadable_as_written(text):
        raise ValueError(f"has {found}, which Chromium can't load or run in a header or footer")
    return text


def _paper(value: Any) -> Any:
    return next((name for name in _PAPERS if isinstance(value, str) and name.lower() == value.lower()), value)


Length = Annotated[str, Accepts("a length in mm, cm, in or px, e.g. 210mm, or nothing"), AfterValidator(_length)]
Margin = Annotated[
    str,
    Accepts('one to four lengths as in CSS (top right bottom left), e.g. "10mm" or "20mm 15mm"'),
    AfterValidator(_margin),
]
Height = Annotated[
    str, Accepts("a length in mm, cm, in or px, e.g. 210mm, or content, or nothing"), AfterValidator(_height)
]
Html = Annotated[
    str,
    Accepts(
        "HTML, a Jinja template of it, or the name of an .html file; it loads nothing: styles in it, pictures and "
        "fonts as data: URIs (or margin boxes in the CSS of the page itself); or nothing"
    ),
    AfterValidator(_inline_html),
]
PageRanges = Annotated[str, Accepts('pages, e.g. "1-5, 8", or nothing'), AfterValidator(_page_ranges)]


class PdfOptions(Section):
    """Print options. Lengths are texts with a unit; ``width`` and ``height`` override the format's."""

    format: Annotated[
        Literal["Letter", "Legal", "Tabloid", "Ledger", "A0", "A1", "A2", "A3", "A4", "A5", "A6"],
        BeforeValidator(_paper),
    ] = "A4"
    width: Length = ""
    height: Height = ""
    landscape: Flag = False
    margin: Margin = "10mm"
    scale: Number = Field(1.0, ge=0.1, le=2)
    fit: Literal["", "width"] = ""
    page_ranges: PageRanges = ""
    prefer_css_page_size: Flag = True
    print_background: Flag = True
    header_template: Html = ""
    footer_template: Html = ""
    tagged: Flag = False
    outline: Flag = False

    def overridden(self, changes: Mapping[str, Any]) -> "PdfOptions":
        """Return these options with other values for the named ones. Raises pydantic's ValidationError."""
        return PdfOptions.model_validate(self.model_dump(exclude_unset=True) | dict(changes))

    @property
    def fixed_paper(self) -> bool:
        """Whether a size in the page's own ``@page`` rule does not count: another one is set, or it is switched off."""
        if "prefer_css_page_size" in self.model_fields_set:
            return not self.prefer_css_page_size
        return bool(self.model_fields_set & {"format", "width", "height", "landscape"})

    def print_parameters(self) -> dict[str, Any]:
        """Return the parameters of ``Page.printToPDF`` (Chrome DevTools Protocol); lengths in inches."""
        width, height = self._paper_inches()
        top, right, bottom, left = _sides(self.margin)
        return {
            "landscape": self.landscape,
            "displayHeaderFooter": bool(self.header_template or self.footer_template),
            "headerTemplate": self.header_template or BLANK,
            "footerTemplate": self.footer_template or BLANK,
            "printBackground": self.print_background,
            "scale": self.scale,
            "paperWidth": width,
            "paperHeight": height,
            "marginTop": top,
            "marginRight": right,
            "marginBottom": bottom,
            "marginLeft": left,
            "pageRanges": self.page_ranges,
            "preferCSSPageSize": self.prefer_css_page_size,
            "generateTaggedPDF": self.tagged,
            "generateDocumentOutline": self.outline,
        }

    def conflicts(self) -> Iterator[Conflict]:
        """Report margins without room for the page or a header, and keys of which one makes another useless."""
        top, right, bottom, left = _sides(self.margin)
        width, height = self._paper_inches()
        if self.landscape:
            width, height = height, width
        if left + right >= width or top + bottom >= height:
            keys = ("margin", "width", "height", "format", "landscape")
            yield Conflict(keys, "leaves no room on the page; accepted: margins smaller than the paper")
        for side, name, template in (
            (top, "header", self.header_template),
            (bottom, "footer", self.footer_template),
        ):
            if template and not side:
                where = "top" if name == "header" else "bottom"
                text = f"is 0 at the {where}, where {name}_template is printed; accepted: room for it, e.g. 20mm"
                yield Conflict(("margin", f"{name}_template"), text)
        if self.page_ranges and self.height == CONTENT:
            text = 'chooses pages, and with height = "content" there is only one; accepted: one of the two keys'
            yield Conflict(("page_ranges", "height"), text)
        if self.outline and not self.tagged:
            text = "is made from the tags that tagged = false leaves out; accepted: with tagged = true"
            yield Conflict(("outline", "tagged"), text)

    def _paper_inches(self) -> tuple[float, float]:
        width, height = _PAPERS[self.format]
        fixed = self.height and self.height != CONTENT
        return _inches(self.width) if self.width else width, _inches(self.height) if fixed else height
