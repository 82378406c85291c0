"""The frame of a chart: its title, its legend, and what stands there when it has no data."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from reportd.adapters.templates.charts.canvas import DASHES, INK, MUTED, colour
from reportd.adapters.templates.charts.text import SIZE
from reportd.adapters.templates.region import current

WIDTH = 658.0
"""Of an A4 sheet within margins of 18 mm, in CSS pixels."""

NO_DATA = "No data"


_TITLE = "font-size:13px;font-weight:600;line-height:1.3;margin-bottom:8px;break-after:avoid"


def runs_from_right(rtl: bool | None) -> bool:
    """Return the direction that a template asks for, else that of the job's language."""
    if rtl is not None:
        return rtl
    locale = current().locale
    return locale is not None and locale.text_direction == "rtl"


@dataclass(frozen=True, slots=True)
class Frame:
    """``kind`` becomes a class, for style sheets. ``width`` in CSS pixels. ``rtl``: whether it runs from the right."""

    kind: str
    title: str
    width: float
    rtl: bool

    def around(self, body: str, legend: str = "") -> Markup:
        """Return the chart; both are HTML."""
        direction = "rtl" if self.rtl else "ltr"
        style = f"margin:0;width:{self.width:g}px;max-width:100%;font-size:{SIZE:g}px;line-height:1.35;color:{INK}"
        head = f'<figcaption style="{_TITLE}">{escape(self.title)}</figcaption>' if self.title else ""
        inside = f"{head}{legend}{body}"
        return Markup(f'<figure class="chart {self.kind}" dir="{direction}" style="{style}">{inside}</figure>')  # noqa: S704

    def without_data(self, words: str) -> Markup:
        return self.around(f'<div style="padding:18px 0;text-align:center;color:{MUTED}">{escape(words)}</div>')


def legend(names: Sequence[str], *, lines: bool = False) -> str:
    """Return the names of the series, each beside its colour; empty for a lone series."""
    if len(names) < 2:  # noqa: PLR2004
        return ""
    style = "display:flex;flex-wrap:wrap;gap:3px 16px;margin-bottom:8px;break-after:avoid"
    items = (
        f'<span style="display:flex;gap:6px;min-width:0"><span style="flex:none">{_sample(index, lines=lines)}</span>'
        f'<bdi style="min-width:0;overflow-wrap:anywhere">{escape(name)}</bdi></span>'
        for index, name in enumerate(names)
    )
    return f'<div style="{style}">{"".join(items)}</div>'


def _sample(index: int, *, lines: bool) -> str:
    if not lines:
        return swatch(colour(index))
    dash = DASHES[index % len(DASHES)]
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    mark = f'<path d="M0 4.5H18" stroke="{colour(index)}" stroke-width="2"{pattern}/>'
    return f'<svg width="18" height="9" style="vertical-align:0">{mark}</svg>'


def swatch(fill: str) -> str:
    # Drawn, because backgrounds may be left out in print.
    return f'<svg width="9" height="9" style="vertical-align:-0.5px"><rect width="9" height="9" fill="{fill}"/></svg>'
