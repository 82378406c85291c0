"""A drawing of a chart: SVG whose coordinates are CSS pixels, mirrored where the page runs from right to left."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from reportd.adapters.templates.charts.text import SIZE

Point = tuple[float, float]

INK = "var(--chart-ink,#1c2530)"
MUTED = "var(--chart-muted,#5a6572)"
RULE = "var(--chart-rule,#e1e6eb)"
AXIS = "var(--chart-axis,#9aa5b0)"
PAPER = "var(--chart-paper,#fff)"
NEGATIVE = "var(--chart-negative,#9aa5b0)"

PALETTE = ("#12455a", "#e5a13a", "#3f8f8a", "#8c3b4a", "#b9cfd6", "#8597a3")
"""Told apart on a printer without colours: each has a lightness of its own, and neighbours differ most."""

DASHES = ("", "", "5 2.5", "2 2", "9 2.5 2 2.5", "9 3")
"""Of the lines, for the same reason."""


def colour(index: int) -> str:
    """Return the colour of a series; the page's style sheet may set ``--chart-1`` to ``--chart-6``."""
    place = index % len(PALETTE)
    return f"var(--chart-{place + 1},{PALETTE[place]})"


class Canvas:
    """Everything is drawn as for a page from left to right. ``anchor``: start, middle or end of a text."""

    def __init__(self, width: float, height: float, *, rtl: bool) -> None:
        self.width = width
        self.height = height
        self._rtl = rtl
        self._parts: list[str] = []

    def rect(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        left = self._x(x + width) if self._rtl else x
        box = f'x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect {box} fill="{fill}"/>')

    def rule(self, x: float, y: float, length: float, stroke: str) -> None:
        """Draw a horizontal line; in the middle of a row of pixels, so that all look alike."""
        y = math.floor(y) + 0.5
        self._parts.append(f'<path d="M{self._x(x):.1f} {y:.1f}H{self._x(x + length):.1f}" stroke="{stroke}"/>')

    def line(self, points: Sequence[Point], stroke: str, dash: str = "", width: float = 1.8) -> None:
        pattern = f' stroke-dasharray="{dash}"' if dash else ""
        style = f'stroke="{stroke}" stroke-width="{width:g}" stroke-linejoin="round"{pattern}'
        self._parts.append(f'<path d="M{self._path(points)}" {style}/>')

    def area(self, points: Sequence[Point], fill: str) -> None:
        self._parts.append(f'<path d="M{self._path(points)}Z" fill="{fill}" fill-opacity=".1"/>')

    def dot(self, at: Point, fill: str, radius: float = 2.6) -> None:
        place = f'cx="{self._x(at[0]):.1f}" cy="{at[1]:.1f}" r="{radius:g}"'
        self._parts.append(f'<circle {place} fill="{fill}"/>')

    def text(
        self, x: float, middle: float, text: str, anchor: str = "start", fill: str = INK, *, halo: bool = False
    ) -> None:
        """Write one line, vertically centred: figures and capitals are about 0.72 em tall.

        ``halo``: with an edge of paper, so that rules behind it do not cross it.
        """
        at = f'x="{self._x(x):.1f}" y="{middle + 0.36 * SIZE:.1f}"'
        edge = f' stroke="{PAPER}" stroke-width="3" paint-order="stroke"' if halo else ""
        self._parts.append(f'<text {at} text-anchor="{anchor}" fill="{fill}"{edge}>{escape(text)}</text>')

    def svg(self, style: str = "display:block;width:100%;height:auto") -> Markup:
        box = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        # The direction decides which side of a text its start is; that of the page must not.
        direction = "rtl" if self._rtl else "ltr"
        # Every value above is a number, a constant, or went through escape().
        return Markup(  # noqa: S704
            f'<svg {box} direction="{direction}" font-size="{SIZE:g}" fill="none" style="{style}">'
            f"<style>text{{unicode-bidi:plaintext}}</style>{''.join(self._parts)}</svg>"
        )

    def _x(self, x: float) -> float:
        return self.width - x if self._rtl else x

    def _path(self, points: Sequence[Point]) -> str:
        return "L".join(f"{self._x(x):.1f} {y:.1f}" for x, y in points)
