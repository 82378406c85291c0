"""Upright columns, in which the series stand on one another. One series makes plain columns."""

from markupsafe import Markup

from reportd.adapters.templates.charts.canvas import NEGATIVE, Canvas, colour
from reportd.adapters.templates.charts.figure import NO_DATA, WIDTH, Frame, legend, runs_from_right
from reportd.adapters.templates.charts.figures import figures
from reportd.adapters.templates.charts.plot import Plot, below, lines_of
from reportd.adapters.templates.charts.series import Data, Table, table
from reportd.adapters.templates.charts.text import SIZE, text_width

_WIDEST = 44.0
_SHARE = 0.62
_SEAM = 1.0
_TOTAL = 10.0
"""What a total needs beyond its column."""


def stacked(
    data: Data,
    *,
    title: str = "",
    unit: str = "",
    x_label: str = "",
    y_label: str = "",
    width: float = WIDTH,
    height: float = 220,
    empty: str = NO_DATA,
    rtl: bool | None = None,
) -> Markup:
    """Draw a column for each label, made of the values of all series; what is negative stands below the axis.

    Its total stands on each column where there is room for all. The other arguments are those of ``lines``. Raises
    ValueError.
    """
    read = table(data)
    mirrored = runs_from_right(rtl)
    frame = Frame("stacked", title, width, mirrored)
    if read.is_empty:
        return frame.without_data(empty)
    canvas = Canvas(width, height, rtl=mirrored)
    names = read.names()
    count = len(names)
    rows = lines_of(names, width * 0.9 / count)
    ends = [_ends(read, index) for index in range(count)]
    values = [value for pair in ends for value in pair]
    totals = _totals(ends, unit, width * 0.8 / count)
    room = (_TOTAL if totals else 0.0, _TOTAL if totals and min(values) < 0 else 0.0)
    plot = Plot(canvas, values, unit, x_label=x_label, y_label=y_label, label_lines=rows, room=room)
    plot.draw_scale()
    pitch = (plot.right - plot.left) / count
    middles = [plot.left + (index + 0.5) * pitch for index in range(count)]
    for index, middle in enumerate(middles):
        _column(canvas, plot, read, index, middle, min(pitch * _SHARE, _WIDEST))
    for (low, high), middle, total in zip(ends, middles, totals, strict=False):
        at = plot.y(low) + SIZE * 0.75 if low else plot.y(high) - SIZE * 0.75
        canvas.text(middle, at, total, "middle", halo=True)
    plot.draw_axis(below(list(zip(middles, names, strict=True)), width, rows))
    return frame.around(canvas.svg(), legend([one.name for one in read.series]))


def _ends(read: Table, index: int) -> tuple[float, float]:
    """Return how far a column goes below and above zero."""
    values = [series.values[index] or 0.0 for series in read.series]
    return sum(value for value in values if value < 0), sum(value for value in values if value > 0)


def _totals(ends: list[tuple[float, float]], unit: str, room: float) -> list[str]:
    """Return the totals; none where one has no room, or a column has parts on both sides of the axis."""
    totals = figures([low + high for low, high in ends], unit)
    mixed = any(low and high for low, high in ends)
    return [] if mixed or max(map(text_width, totals)) + 6 > room else totals


def _column(canvas: Canvas, plot: Plot, read: Table, index: int, middle: float, width: float) -> None:
    below_zero = above_zero = 0.0
    lone = len(read.series) == 1
    for number, series in enumerate(read.series):
        value = series.values[index] or 0.0
        if not value:
            continue
        start = below_zero if value < 0 else above_zero
        top, bottom = plot.y(max(start, start + value)), plot.y(min(start, start + value))
        # A seam of paper between two parts, so that they are told apart without colours.
        seam = _SEAM if start and bottom - top > 2 * _SEAM else 0.0
        if value < 0:
            below_zero += value
            top += seam
        else:
            above_zero += value
            bottom -= seam
        fill = NEGATIVE if lone and value < 0 else colour(number)
        canvas.rect(middle - width / 2, top, width, bottom - top, fill)
