"""Horizontal bars, one for each label and series: for names of any length. HTML, so that long names wrap and many rows
go on over pages.
"""

from markupsafe import Markup, escape

from reportd.adapters.templates.charts.canvas import AXIS, MUTED, NEGATIVE, colour
from reportd.adapters.templates.charts.figure import NO_DATA, WIDTH, Frame, legend, runs_from_right
from reportd.adapters.templates.charts.figures import figures
from reportd.adapters.templates.charts.scale import SMALLEST_SPAN
from reportd.adapters.templates.charts.series import Data, table
from reportd.adapters.templates.charts.text import text_width
from reportd.adapters.templates.filters import EN_DASH

_LONE, _GROUPED = 14.0, 10.0
_GAP = 10.0
_BESIDE = 6.0
_LABEL = (
    "min-width:0;overflow:hidden;overflow-wrap:anywhere;break-inside:avoid;"
    "display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:3"
)


def bars(
    data: Data,
    *,
    title: str = "",
    unit: str = "",
    width: float = WIDTH,
    empty: str = NO_DATA,
    rtl: bool | None = None,
) -> Markup:
    """Draw a bar and its figure for each label, top to bottom; several series stand below one another.

    ``unit``: a currency's code, ``%``, or a text after each figure. ``width`` in CSS pixels. Raises ValueError.
    """
    read = table(data)
    frame = Frame("bars", title, width, runs_from_right(rtl))
    if read.is_empty:
        return frame.without_data(empty)
    values = read.values()
    texts = dict(zip(values, figures(values, unit), strict=True))
    rows = _Rows(min([0.0, *values]), max([0.0, *values]), texts, lone=len(read.series) == 1)
    cells = (
        f'<div style="{_LABEL}"><bdi>{escape(name)}</bdi></div>{rows.row([one.values[index] for one in read.series])}'
        for index, name in enumerate(read.names())
    )
    grid = (
        "display:grid;grid-template-columns:fit-content(42%) minmax(0,1fr);align-items:center;"
        f"column-gap:10px;row-gap:{_GAP:g}px"
    )
    body = f'<div style="{grid}">{"".join(cells)}</div>'
    return frame.around(body, legend([one.name for one in read.series]))


class _Rows:
    """Bars between ``low`` and ``high``, with room for the figures at their ends."""

    def __init__(self, low: float, high: float, texts: dict[float, str], *, lone: bool) -> None:
        self._low, self._span = low, max(high - low, SMALLEST_SPAN)
        self._texts = texts
        self._lone = lone
        widths = [(value, text_width(text) + _BESIDE) for value, text in texts.items()]
        self._before = max((width for value, width in widths if value < 0), default=0.0)
        self._after = max((width for value, width in widths if value >= 0), default=text_width(EN_DASH) + _BESIDE)

    def row(self, values: list[float | None]) -> str:
        pitch = _LONE if self._lone else _GROUPED + 3
        bars = "".join(self._bar(value, index, index * pitch) for index, value in enumerate(values))
        height = _LONE if self._lone else len(values) * pitch
        zero = f"top:{-_GAP / 2:g}px;bottom:{-_GAP / 2:g}px;inset-inline-start:{self._percent(0):.2f}%"
        axis = f'<div style="position:absolute;{zero};border-inline-start:1px solid {AXIS}"></div>'
        margin = f"margin-inline:{self._before:.0f}px {self._after:.0f}px"
        # As high as its label, so that the axis has no gap.
        outer = f"position:relative;align-self:stretch;display:grid;align-content:center;break-inside:avoid;{margin}"
        inner = f"position:relative;height:{height:g}px"
        return f'<div style="{outer}"><div style="{inner}">{bars}</div>{axis}</div>'

    def _bar(self, value: float | None, index: int, top: float) -> str:
        height = _LONE if self._lone else _GROUPED
        start, end = sorted((self._percent(value or 0.0), self._percent(0.0)))
        fill = NEGATIVE if self._lone and value is not None and value < 0 else colour(index)
        place = f"position:absolute;top:{top:g}px"
        box = f"{place};height:{height:g}px;inset-inline-start:{start:.2f}%;width:{end - start:.2f}%"
        drawn = f'<svg style="{box}"><rect width="100%" height="100%" fill="{fill}"/></svg>' if value else ""
        beside = f"inset-inline-start:calc({end:.2f}% + {_BESIDE:g}px)"
        if value is not None and value < 0:
            beside = f"inset-inline-end:calc({100 - start:.2f}% + {_BESIDE:g}px)"
        style = f"{place};line-height:{height:g}px;white-space:nowrap;color:{MUTED};{beside}"
        text = EN_DASH if value is None else self._texts[value]
        return f'{drawn}<div style="{style}"><bdi>{escape(text)}</bdi></div>'

    def _percent(self, value: float) -> float:
        return 100 * (value - self._low) / self._span
