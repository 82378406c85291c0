"""What became of a fleet, as one SVG: backlog, nodes, and how long reports waited, over the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from reportd.adapters.templates.charts.scale import ticks
from tests.simulation.fleet import Outcome, Scenario, ideal_nodes
from tests.simulation.group import MINUTE

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP = 960.0, 170.0, 44.0, 64.0, 16.0, 64.0
WINDOW_SECONDS = 300.0
"""Waits are those of the reports that came in so long a time."""

Line = Sequence[tuple[float, float]]
INK, MUTED, RULE, MARK = "#1c2530", "#66717f", "#e3e7ec", "#fdf1dd"
BLUE, GREY, RED = "#2563c9", "#a9b2bd", "#c0392b"


@dataclass(frozen=True)
class _Panel:
    """``lines``: points over time, colour, and what they are."""

    title: str
    lines: Sequence[tuple[Line, str, str]]


def plot(scenario: Scenario, outcome: Outcome, target_seconds: float, title: str) -> str:
    """The whole SVG. The same for the same outcome."""
    samples, ideal = outcome.samples, ideal_nodes(scenario, 1)
    windows = [at * WINDOW_SECONDS for at in range(int(scenario.seconds / WINDOW_SECONDS))]
    waits = [(at + WINDOW_SECONDS / 2, outcome.wait_seconds(0.95, at, at + WINDOW_SECONDS)) for at in windows]
    end = max(scenario.seconds, samples[-1].at if samples else 0.0)
    panels = [
        _Panel("messages that wait", [([(s.at, float(s.backlog)) for s in samples], BLUE, "backlog")]),
        _Panel(
            "nodes",
            [
                ([(MINUTE * (minute + 0.5), nodes) for minute, nodes in enumerate(ideal)], GREY, "ideal"),
                ([(s.at, float(s.nodes)) for s in samples], BLUE, "in service"),
            ],
        ),
        _Panel(
            "seconds of waiting, p95 of 5 minutes",
            [(waits, BLUE, "wait"), ([(0.0, target_seconds), (end, target_seconds)], RED, "target")],
        ),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    shape = f'viewBox="0 0 {WIDTH:g} {height:g}" font-family="system-ui, sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>',
        f'<rect width="{WIDTH:g}" height="{height:g}" fill="#fff"/>',
        _text(LEFT, 22, title, INK, "start"),
    ]
    for number, panel in enumerate(panels):
        parts += _drawn(panel, scenario, TOP + number * (PANEL + GAP), end)
    for start, _, text in scenario.marks:
        parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) * start / end + 4, TOP + 14, text, MUTED, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _drawn(panel: _Panel, scenario: Scenario, top: float, end: float) -> list[str]:
    steps = ticks([value for line, _, _ in panel.lines for _, value in line], 4)

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / end

    def y(value: float) -> float:
        return top + PANEL * (1 - value / steps[-1])

    parts = []
    for start, seconds, _ in scenario.marks:
        box = f'x="{x(start):.1f}" y="{top:g}" width="{x(start + seconds) - x(start):.1f}" height="{PANEL:g}"'
        parts.append(f'<rect {box} fill="{MARK}"/>')
    parts += [f'<path d="M{x(at):.1f} {top:g}v{PANEL:g}" stroke="{RED}" opacity=".3"/>' for at in scenario.losses]
    for step in steps:
        parts.append(f'<path d="M{LEFT:g} {y(step):.1f}H{WIDTH - RIGHT:g}" stroke="{RULE}"/>')
        parts.append(_text(LEFT - 8, y(step) + 4, f"{step:g}", MUTED, "end"))
    hours = [hour for hour in ticks([0.0, end / 3600], 8) if hour * 3600 <= end]
    parts += [_text(x(hour * 3600), top + PANEL + 16, f"{hour:g} h", MUTED, "middle") for hour in hours]
    legend = WIDTH - RIGHT
    for line, colour, name in reversed(panel.lines):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(legend, top - 8, name, colour, "end"))
        legend -= 80
    parts.append(_text(LEFT, top - 8, panel.title, INK, "start"))
    return parts


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{escape(text)}</text>'
