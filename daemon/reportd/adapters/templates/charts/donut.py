"""Shares of a whole: a ring, and a list of its parts with their figures."""

from markupsafe import Markup, escape

from reportd.adapters.templates.charts.canvas import INK, MUTED, RULE, colour
from reportd.adapters.templates.charts.figure import NO_DATA, WIDTH, Frame, runs_from_right, swatch
from reportd.adapters.templates.charts.figures import figures
from reportd.adapters.templates.charts.series import Data, table
from reportd.adapters.templates.charts.text import SIZE, fitted, text_width
from reportd.adapters.templates.filters import EN_DASH, percent

_SIZE = 136.0
_RING = 22.0
_LEAST_NAME = 70.0
_BOLD = 1.15
"""How much wider a bold text is."""
_SEAM = 0.7
"""Between two parts, in percent of the ring."""


def donut(
    data: Data,
    *,
    title: str = "",
    unit: str = "",
    total: str = "",
    width: float = WIDTH,
    empty: str = NO_DATA,
    rtl: bool | None = None,
) -> Markup:
    """Draw a ring of the parts, clockwise from the top, with their sum in it and a list beside it.

    ``total`` names the sum. A part that is not positive has no place on the ring, but stands in the list. The other
    arguments are those of ``bars``. Raises ValueError, also for more than one series.
    """
    read = table(data)
    frame = Frame("donut", title, width, runs_from_right(rtl))
    if len(read.series) > 1:
        raise ValueError("a donut has one series; accepted: pairs of label and number")
    if read.is_empty:
        return frame.without_data(empty)
    values = [value or 0.0 for value in read.series[0].values]
    whole = sum(value for value in values if value > 0)
    *texts, total_text = figures([*values, sum(values)], unit)
    ring = _ring(values, whole, total_text, total)
    rows = "".join(
        f'<span>{swatch(colour(index))}</span><span style="min-width:0;overflow-wrap:anywhere">{_own(name)}</span>'
        f'<span style="text-align:end;white-space:nowrap">{_own(text)}</span>'
        f'<span style="text-align:end;white-space:nowrap;color:{MUTED}">'
        f"{_own(percent(value, whole) if value >= 0 else EN_DASH)}</span>"
        for index, (name, value, text) in enumerate(zip(read.names(), values, texts, strict=True))
    )
    grid = (
        "flex:0 1 auto;min-width:0;display:grid;grid-template-columns:auto minmax(0,auto) auto auto;"
        "gap:4px 12px;align-items:baseline;font-variant-numeric:tabular-nums"
    )
    # Beside the ring there must be room for the figures, their shares and a part of the names.
    beside = width - _SIZE - 24 >= max(map(text_width, texts)) + 45 + 9 + 3 * 12 + _LEAST_NAME
    direction = "align-items:center" if beside else "flex-direction:column;align-items:flex-start"
    body = (
        f'<div style="display:flex;{direction};gap:24px;break-inside:avoid">'
        f'{ring}<div style="{grid}">{rows}</div></div>'
    )
    return frame.around(body)


def _own(text: str) -> str:
    """Return a text in a direction of its own, which leaves that of the line alone."""
    return f"<bdi>{escape(text)}</bdi>"


def _ring(values: list[float], whole: float, total: str, words: str) -> str:
    radius, middle = (_SIZE - _RING) / 2, _SIZE / 2
    circle = f'cx="{middle:g}" cy="{middle:g}" r="{radius:g}" stroke-width="{_RING:g}" pathLength="100"'
    parts = [f'<circle {circle} stroke="{RULE}"/>'] if whole <= 0 else []
    done = 0.0
    shown = sum(value > 0 for value in values)
    for index, value in enumerate(values):
        if value <= 0:
            continue
        share = 100 * value / whole
        # A thin part keeps half of itself.
        drawn = share if shown == 1 else max(share - _SEAM, share / 2)
        dash = f'stroke-dasharray="{drawn:.3f} {100 - drawn:.3f}" stroke-dashoffset="{-done:.3f}"'
        parts.append(f'<circle {circle} stroke="{colour(index)}" {dash}/>')
        done += share
    hole = _SIZE - 2 * _RING - 16
    size = min(15.0, SIZE * hole / max(_BOLD * text_width(total), 1.0))
    lines = [(total, size, 600, INK), (fitted(words, hole), SIZE, 400, MUTED)] if words else [(total, size, 600, INK)]
    middles = [middle - 6, middle + 11] if words else [middle]
    texts = "".join(
        f'<text x="{middle:g}" y="{at + 0.36 * points:.1f}" text-anchor="middle" font-size="{points:.1f}" '
        f'font-weight="{weight}" fill="{fill}" style="unicode-bidi:plaintext">{escape(text)}</text>'
        for (text, points, weight, fill), at in zip(lines, middles, strict=True)
    )
    # The ring begins at the top.
    turned = f'<g transform="rotate(-90 {middle:g} {middle:g})">{"".join(parts)}</g>'
    return (
        f'<svg width="{_SIZE:g}" height="{_SIZE:g}" viewBox="0 0 {_SIZE:g} {_SIZE:g}" fill="none" '
        f'style="flex:none">{turned}{texts}</svg>'
    )
