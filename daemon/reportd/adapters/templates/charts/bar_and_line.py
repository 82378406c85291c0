"""The first two charts, as inline SVG, drawn from plain pairs by pure functions.

Report templates call them as the filters `bar_chart` and `line_chart`. Lengths are CSS pixels: give a chart the width
at which it is printed, and its text has the size of the text around it. The accent is `currentColor`, so the page's
style sheet chooses it. Labels are escaped here.
"""

import math
from collections.abc import Sequence
from datetime import date
from unicodedata import east_asian_width

from markupsafe import Markup, escape

from reportd.adapters.templates.charts.scale import SMALLEST_SPAN, date_labels, ticks
from reportd.adapters.templates.filters import alike, day
from reportd.adapters.templates.region import Number, current

_INK = "#1c2530"
_MUTED = "#66717f"
_RULE = "#e3e7ec"
_LOSS = "#a9b2bd"

_TEXT = 11.0
_BAR_PITCH = 24.0
_BAR = 14.0
_LABEL_SHARE = 0.42
_BAR_SHARE = 0.25


def bar_chart(pairs: Sequence[tuple[str, Number]], width: float = 658) -> Markup:
    """Draw one horizontal bar with its figure for each `(label, value)`, top to bottom in the given order.

    Bars of negative values point left and are grey. Raises ValueError on a value that is not finite.
    """
    values = _finite([value for _, value in pairs])
    figures = alike([value for _, value in pairs])
    low, high = min([0.0, *values]), max([0.0, *values])
    # Figures stand outside their bars, so each side with bars needs room for its widest figure.
    room = max(map(_text_width, figures), default=0.0) + 8
    before, after = (room if low < 0 else 0.0), (room if high > 0 or low == 0 else 0.0)
    widest = min(width * _LABEL_SHARE, width * (1 - _BAR_SHARE) - before - after)
    labels = [_fit(label, widest) for label, _ in pairs]
    start = max(map(_text_width, labels), default=0.0) + 10 + before
    per_unit = max(width - start - after, 0.0) / max(high - low, SMALLEST_SPAN)
    zero = start - low * per_unit

    height = len(pairs) * _BAR_PITCH + 2
    parts = []
    for index, (label, value, figure) in enumerate(zip(labels, values, figures, strict=True)):
        middle = (index + 0.5) * _BAR_PITCH + 1
        length = abs(value) * per_unit
        left, fill = (zero - length, _LOSS) if value < 0 else (zero, "currentColor")
        box = f'x="{left:.1f}" y="{middle - _BAR / 2:.1f}" width="{length:.1f}" height="{_BAR:g}"'
        beside, anchor = (left - 6, "end") if value < 0 else (left + length + 6, "start")
        parts.append(_text(0, middle, label, "start", _INK))
        parts.append(f'<rect {box} fill="{fill}"/>')
        parts.append(_text(beside, middle, figure, anchor, _MUTED))
    parts.append(f'<path d="M{zero:.1f} 0V{height:.1f}" stroke="{_LOSS}"/>')
    return _svg(width, height, "".join(parts))


def line_chart(points: Sequence[tuple[str, Number]], width: float = 658, height: float = 190) -> Markup:
    """Draw a line over days, with a tinted area and the peak labelled. Points are `(ISO date, value)`, in any order.

    A missing day leaves a gap on the axis. Raises ValueError on an invalid date, on a value that is not finite, and
    when there are no points.
    """
    if not points:
        raise ValueError("a line chart needs at least one day")
    values = _finite([value for _, value in points])
    dated = sorted(zip([date.fromisoformat(at) for at, _ in points], values, strict=True))
    scale = ticks(values)
    names = alike(scale)
    left, right, top, bottom = max(map(_text_width, names)) + 10, 6.0, 18.0, 22.0
    first, last = dated[0][0], dated[-1][0]
    days = max((last - first).days, 1)

    def x(at: date) -> float:
        return left + (at - first).days / days * (width - left - right)

    def y(value: float) -> float:
        return top + (scale[-1] - value) / (scale[-1] - scale[0]) * (height - top - bottom)

    parts = []
    for tick, name in zip(scale, names, strict=True):
        rule = _LOSS if tick == 0 else _RULE
        parts.append(f'<path d="M{left:.1f} {y(tick):.1f}H{width:g}" stroke="{rule}"/>')
        parts.append(_text(left - 8, y(tick), name, "end", _MUTED))
    for at, name in date_labels(first, last):
        if x(at) + _text_width(name) / 2 <= width:
            parts.append(_text(x(at), height - 8, name, "middle", _MUTED))

    line = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in dated)
    area = f"{x(first):.1f} {y(0):.1f}L{line}L{x(last):.1f} {y(0):.1f}Z"
    parts.append(f'<path d="M{area}" fill="currentColor" fill-opacity=".1"/>')
    parts.append(f'<path d="M{line}" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round"/>')

    peak_at, peak = max(dated, key=lambda point: point[1])
    on = " on " if current().locale is None else " · "
    name = f"{alike([peak])[0]}{on}{day(peak_at.isoformat())}"
    half = _text_width(name) / 2
    middle = min(max(x(peak_at), left + half), width - half)
    dot = f'cx="{x(peak_at):.1f}" cy="{y(peak):.1f}" r="3.2"'
    # A white edge, so that grid lines behind the label do not cross it.
    halo = 'stroke="#fff" stroke-width="3" paint-order="stroke"'
    parts.append(f'<circle {dot} fill="currentColor" stroke="#fff" stroke-width="1.4"/>')
    parts.append(_text(middle, y(peak) - 12, name, "middle", _INK, more=halo))
    return _svg(width, height, "".join(parts))


def _finite(values: Sequence[Number]) -> list[float]:
    floats = [float(value) for value in values]
    if not all(map(math.isfinite, floats)):
        raise ValueError("a chart can only show finite numbers")
    return floats


def _text(x: float, middle: float, text: str, anchor: str, colour: str, *, more: str = "") -> str:
    """Return one line of text, vertically centred: figures and capitals are about 0.72 em tall."""
    at = f'x="{x:.1f}" y="{middle + 0.36 * _TEXT:.1f}"'
    return f'<text {at} text-anchor="{anchor}" fill="{colour}"{more and " " + more}>{escape(text)}</text>'


def _text_width(text: str) -> float:
    """Estimate the width, a little too wide: only the browser knows it exactly."""
    return sum(_TEXT if east_asian_width(char) in "WF" else _TEXT * 0.6 for char in text)


def _fit(text: str, width: float) -> str:
    if _text_width(text) <= width:
        return text
    while text and _text_width(text) + _TEXT > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _svg(width: float, height: float, body: str) -> Markup:
    # Every value in the body is a number formatted above or went through escape().
    return Markup(  # noqa: S704
        f'<svg class="chart" width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}" '
        f'font-size="{_TEXT:g}" fill="none">{body}</svg>'
    )
