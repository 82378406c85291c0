"""Lines over days, months or any other labels."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from reportd.adapters.templates.charts.canvas import DASHES, Canvas, Point, colour
from reportd.adapters.templates.charts.figure import NO_DATA, WIDTH, Frame, legend, runs_from_right
from reportd.adapters.templates.charts.plot import Plot, below, lines_of, spread
from reportd.adapters.templates.charts.scale import date_labels
from reportd.adapters.templates.charts.series import Data, Table, table


def lines(
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
    """Draw a line for each series. Labels that are ISO dates or months have their place in time.

    A value that is missing leaves a gap. ``unit``: as for ``bars``. ``width`` and ``height`` in CSS pixels, without
    title and legend. Raises ValueError.
    """
    read = table(data)
    mirrored = runs_from_right(rtl)
    frame = Frame("lines", title, width, mirrored)
    if read.is_empty:
        return frame.without_data(empty)
    canvas = Canvas(width, height, rtl=mirrored)
    names = read.names()
    # The exact pitch depends on the figures at the side, which depend on the height that the labels leave.
    rows = 1 if read.dates else lines_of(names, width * 0.9 / len(names))
    plot = Plot(canvas, read.values(), unit, x_label=x_label, y_label=y_label, label_lines=rows)
    plot.draw_scale()
    xs = _places(read, plot)
    for index, series in enumerate(read.series):
        for run in _runs(xs, series.values, plot):
            if len(read.series) == 1 and len(run) > 1:
                canvas.area([(run[0][0], plot.y(0)), *run, (run[-1][0], plot.y(0))], colour(index))
            if len(run) > 1:
                canvas.line(run, colour(index), DASHES[index % len(DASHES)])
            else:
                canvas.dot(run[0], colour(index))
    if read.dates:
        first, last = read.dates[0], read.dates[-1]
        dated = zip(read.dates, names, strict=True) if read.monthly else date_labels(first, last, with_first=True)
        labels = [(_at((at - first).days, (last - first).days, plot), name) for at, name in dated]
        plot.draw_axis(spread(labels, width))
    else:
        plot.draw_axis(below(list(zip(xs, names, strict=True)), width, rows))
    return frame.around(canvas.svg(), legend([one.name for one in read.series], lines=True))


def _places(read: Table, plot: Plot) -> list[float]:
    if read.dates:
        first, last = read.dates[0], read.dates[-1]
        return [_at((at - first).days, (last - first).days, plot) for at in read.dates]
    pitch = (plot.right - plot.left) / len(read.labels)
    return [plot.left + (index + 0.5) * pitch for index in range(len(read.labels))]


def _at(days: int, of_days: int, plot: Plot) -> float:
    if of_days == 0:
        return (plot.left + plot.right) / 2
    inset = 6.0
    return plot.left + inset + days / of_days * (plot.right - plot.left - 2 * inset)


def _runs(xs: Sequence[float], values: Sequence[float | None], plot: Plot) -> Iterator[list[Point]]:
    """Return the points without a gap between them."""
    run: list[Point] = []
    for x, value in zip(xs, values, strict=True):
        if value is not None:
            run.append((x, plot.y(value)))
        elif run:
            yield run
            run = []
    if run:
        yield run
