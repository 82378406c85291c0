"""Lines over seconds, as an SVG that a browser shows as it is."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from reportd.adapters.templates.charts.scale import ticks

WIDTH, HEIGHT = 760.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 52.0, 40.0
COLOURS = ("#66717f", "#0f5c6e", "#b3402a")


def draw(path: Path, title: str, lines: Mapping[str, Sequence[tuple[float, float]]], mark: float) -> None:
    """Up to three lines of ``(second, value)``, with a rule at the second from which they are judged."""
    points = [point for line in lines.values() for point in line]
    seconds = max(at for at, _ in points)
    steps = ticks([value for _, value in points])

    def x(at: float) -> float:
        return LEFT + at / seconds * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / steps[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 20, title, anchor="start", colour="#1c2530", more='font-size="14"')]
    for step in steps:
        parts.append(f'<path d="M{LEFT:g} {y(step):.1f}H{WIDTH - RIGHT:g}" stroke="#e3e7ec"/>')
        parts.append(_text(LEFT - 8, y(step) + 4, f"{step:g}", anchor="end"))
    parts += [_text(x(at), HEIGHT - BOTTOM + 18, f"{at:g} s") for at in ticks([seconds]) if at <= seconds]
    parts.append(f'<path d="M{x(mark):.1f} {TOP:g}V{HEIGHT - BOTTOM:g}" stroke="#a9b2bd" stroke-dasharray="4 3"/>')
    parts.append(_text(x(mark) + 5, TOP + 12, "judged from here", anchor="start"))
    beside = LEFT
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        drawn = "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in line)
        parts.append(f'<path d="M{drawn}" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>')
        parts.append(f'<path d="M{beside:g} 38h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(beside + 24, 42, name, anchor="start"))
        beside += 50 + 7 * len(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{HEIGHT:g}" font-family="sans-serif" '
        f'font-size="12" fill="none"><rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", colour: str = "#66717f", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {more}>{escape(text)}</text>'
