"""A line as high as a line of text, for the cells of a table."""

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from reportd.adapters.templates.charts.canvas import Canvas, colour
from reportd.adapters.templates.charts.figure import runs_from_right
from reportd.adapters.templates.charts.series import number
from reportd.adapters.templates.filters import EN_DASH

_DOT = 2.0


def sparkline(
    data: Iterable[Any], *, width: float = 80, height: float = 16, empty: str = EN_DASH, rtl: bool | None = None
) -> Markup | str:
    """Draw numbers, or pairs of label and number, from their lowest to their highest; the last one has a dot.

    A value that is missing is left out. ``empty`` stands there without data. Raises ValueError.
    """
    values = _values(data)
    if not values:
        return empty
    canvas = Canvas(width, height, rtl=runs_from_right(rtl))
    low, high = min(values), max(values)
    step = (width - 2 * _DOT) / max(len(values) - 1, 1)

    def y(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return _DOT + (1 - share) * (height - 2 * _DOT)

    points = [(_DOT + index * step, y(value)) for index, value in enumerate(values)]
    if len(points) > 1:
        canvas.line(points, colour(0), width=1.3)
    canvas.dot(points[-1], colour(0), _DOT)
    return canvas.svg("vertical-align:middle")


def _values(data: Any) -> list[float]:
    items = data.values() if isinstance(data, Mapping) else data
    found = [item[1] if isinstance(item, tuple | list) and len(item) == 2 else item for item in items]  # noqa: PLR2004
    return [number(value) for value in found if value is not None]
