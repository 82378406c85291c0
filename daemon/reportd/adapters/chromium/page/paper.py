"""The paper that a job is printed on, and the print parameters for it.

Chromium takes the size of the sheet from the page's ``@page`` rule, its orientation even when told not to. So the size
that a report type sets is added to the document as a rule that overrides all others.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

from reportd.adapters.chromium.page.emulation import PX_PER_INCH, print_defaults, printable_area
from reportd.adapters.chromium.page.inspect import Inspection
from reportd.ports import RenderOptions

MAX_SHRINK = 1.5
"""Chromium itself shrinks content that is too wide, up to this factor (kPrintingMaximumShrinkFactor / 1.333)."""

_SCALED = """
html:dir(rtl) { direction: ltr !important }
html:dir(rtl) > body { direction: rtl !important }
"""
"""If the root of a scaled page runs from right to left, Chromium prints it beside the paper. The body may do so."""

MIN_SCALE = 0.3
"""Chromium may still shrink the page by MAX_SHRINK: text of 10 points has 2 points then, and can't be read."""

MAX_INCHES = 200.0
"""The longest side of a page (ISO 32000-1 annex C.2)."""


@dataclass(frozen=True, slots=True)
class Paper:
    """``scale`` and ``height_inches`` replace those of the options, where they depend on the content."""

    options: RenderOptions
    scale: float = 0.0
    height_inches: float = 0.0

    @property
    def depends_on_content(self) -> bool:
        return self.options.fit_width or self.options.content_height

    def fitted(self, found: Inspection) -> Self:
        """Return the paper for a page with this content."""
        given = print_defaults(self.options.print_parameters)
        scale, height = float(given["scale"]), 0.0
        if self.options.fit_width:
            area, _ = printable_area(self.options.print_parameters)
            scale = max(min(MIN_SCALE, scale), min(scale, scale * area / max(1, found.width)))
        if self.options.content_height:
            content = (found.height + 1) / PX_PER_INCH * scale
            height = min(MAX_INCHES, content + given["marginTop"] + given["marginBottom"])
        return replace(self, scale=scale, height_inches=height)

    def limit_px(self, found: Inspection) -> int:
        """Return the widest content that fits, in CSS pixels. Chromium does not shrink text from right to left."""
        area, _ = printable_area(self.options.print_parameters)
        given = float(print_defaults(self.options.print_parameters)["scale"])
        return round(area * (1 if found.rtl else MAX_SHRINK) * given / (self.scale or given))

    @property
    def sheet(self) -> str:
        """The style sheet for the paper; empty when Chromium prints it right as it is."""
        scale = self.scale or print_defaults(self.options.print_parameters)["scale"]
        return self._size + (_SCALED if scale != 1 else "")

    @property
    def _size(self) -> str:
        """The rule with the size of the paper; empty when the page may choose it."""
        if not self.options.fixed_paper and not self.height_inches:
            return ""
        width, height = self._inches()
        return f"@page {{ size: {width:g}in {height:g}in !important }}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of ``Page.printToPDF``."""
        given = dict(self.options.print_parameters)
        if self.scale:
            given["scale"] = self.scale
        if self._size:
            width, height = self._inches()
            given |= {"paperWidth": width, "paperHeight": height, "landscape": False, "preferCSSPageSize": True}
        return given

    def _inches(self) -> tuple[float, float]:
        given = print_defaults(self.options.print_parameters)
        width, height = given["paperWidth"], given["paperHeight"]
        if given["landscape"]:
            width, height = height, width
        return width, self.height_inches or height
