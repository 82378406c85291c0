"""What lines and columns share: the figures at the side, the rules behind them, the labels below."""

from collections.abc import Sequence
from itertools import pairwise

from reportd.adapters.templates.charts.canvas import AXIS, MUTED, RULE, Canvas
from reportd.adapters.templates.charts.figures import figures
from reportd.adapters.templates.charts.scale import ticks
from reportd.adapters.templates.charts.text import SIZE, fitted, text_width, wrapped

_BETWEEN = 8.0
_LINE = SIZE * 1.3
_PER_TICK = 34.0
_WRAPS_FROM = 44.0

Label = tuple[float, str]
"""The middle of a text below the plot, and the text."""


class Plot:
    """The place of the values on a canvas. ``unit``: that of the figures; ``x_label``, ``y_label``: name the axes.

    ``label_lines``: of the labels below; ``room``: what is kept free above and below the values, in CSS pixels.
    ``left`` and ``right`` are the ends of the horizontal axis.
    """

    def __init__(
        self,
        canvas: Canvas,
        values: Sequence[float],
        unit: str,
        *,
        x_label: str,
        y_label: str,
        label_lines: int = 1,
        room: tuple[float, float] = (0, 0),
    ) -> None:
        self._canvas = canvas
        self._x_label, self._y_label = x_label, y_label
        self._top = SIZE * 0.6 + (_LINE + 6 if y_label else 0) + room[0]
        self._bottom = canvas.height - 6 - _LINE * (label_lines + bool(x_label)) - (4 if x_label else 0) - room[1]
        self._room_below = room[1]
        self._scale = ticks(values, max(round((self._bottom - self._top) / _PER_TICK), 2))
        self._names = figures(self._scale, unit)
        self.left = max(map(text_width, self._names)) + 8
        self.right = canvas.width

    def y(self, value: float) -> float:
        low, high = self._scale[0], self._scale[-1]
        return self._top + (high - value) / (high - low) * (self._bottom - self._top)

    def draw_scale(self) -> None:
        """Draw what is behind the data."""
        if self._y_label:
            self._canvas.text(0, SIZE * 0.6, fitted(self._y_label, self._canvas.width), fill=MUTED)
        for tick, name in zip(self._scale, self._names, strict=True):
            self._canvas.rule(self.left, self.y(tick), self.right - self.left, RULE)
            self._canvas.text(self.left - 8, self.y(tick), name, "end", MUTED)

    def draw_axis(self, labels: Sequence[tuple[float, Sequence[str]]]) -> None:
        """Draw the line at zero, and the labels of one or more lines below the plot."""
        self._canvas.rule(self.left, self.y(0), self.right - self.left, AXIS)
        for x, lines in labels:
            for index, line in enumerate(lines):
                self._canvas.text(x, self._bottom + self._room_below + 4 + _LINE * (index + 0.6), line, "middle", MUTED)
        if self._x_label:
            text = fitted(self._x_label, self.right - self.left)
            middle = self._canvas.height - _LINE / 2
            self._canvas.text((self.left + self.right) / 2, middle, text, "middle", MUTED)


def spread(labels: Sequence[Label], width: float) -> list[tuple[float, list[str]]]:
    """Return as many of the labels, evenly, as have room beside one another; none leaves the width."""
    boxes = []
    for x, text in labels:
        half = text_width(text) / 2
        boxes.append((min(max(x, half), width - half), half, text))
    for stride in range(1, len(boxes) + 1):
        chosen = boxes[::stride]
        if all(a + a_half + _BETWEEN <= b - b_half for (a, a_half, _), (b, b_half, _) in pairwise(chosen)):
            return [(x, [text]) for x, _, text in chosen]
    return []


def lines_of(names: Sequence[str], pitch: float) -> int:
    """Return on how many lines the labels of places that are ``pitch`` apart stand."""
    return max(len(_wrapped(name, pitch)) for name in names) if pitch >= _WRAPS_FROM else 1


def below(labels: Sequence[Label], width: float, lines: int) -> list[tuple[float, list[str]]]:
    """Return what stands below places that are equally far apart: each label wrapped, or as many as have room."""
    pitch = labels[1][0] - labels[0][0] if len(labels) > 1 else width * 0.9
    if pitch < _WRAPS_FROM:
        return spread([(x, fitted(name, width / 3)) for x, name in labels], width)
    return [(x, _wrapped(name, pitch)[:lines]) for x, name in labels]


def _wrapped(name: str, pitch: float) -> list[str]:
    return wrapped(name, pitch - _BETWEEN)
