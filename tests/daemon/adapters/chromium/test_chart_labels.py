"""Where the texts of charts stand once a real browser has laid them out: beside one another, and inside the chart."""

import math
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest

from reportd.adapters.templates.charts.bars import bars
from reportd.adapters.templates.charts.donut import donut
from reportd.adapters.templates.charts.lines import lines
from reportd.adapters.templates.charts.stacked import stacked
from reportd.adapters.templates.region import rendering_in
from tests.servers.chromium import Stage, open_stage, request, text_of

pytestmark = pytest.mark.browser

LOOK = """<!doctype html><meta charset="utf-8"><style>
@page { margin: 10mm; size: 210mm 8000mm }
body { font-family: Inter, "Noto Sans CJK SC", "Noto Sans Arabic", sans-serif }
</style>"""

MEASURE = """<script>
const faults = [];
for (const figure of document.querySelectorAll('figure')) {
  const frame = figure.getBoundingClientRect();
  const walker = document.createTreeWalker(figure, NodeFilter.SHOW_TEXT);
  const boxes = [];
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    if (walker.currentNode.parentNode.localName === 'style' || !walker.currentNode.data.trim()) continue;
    for (const box of range.getClientRects()) boxes.push([box, walker.currentNode.data]);
  }
  boxes.forEach(([a, text], index) => {
    if (a.left < frame.left - 1 || a.right > frame.right + 1) faults.push(`${text} leaves ${figure.className}`);
    for (const [b, other] of boxes.slice(index + 1)) {
      // Boxes of lines are higher than their letters.
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) - 4;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      if (wide > 0.5 && high > 0.5) faults.push(`${text} over ${other} in ${figure.className}`);
    }
  });
}
const count = document.querySelectorAll('figure').length;
document.body.innerHTML = `${count} charts, ${faults.length} faults: ${[...new Set(faults)].join('; ')}`;
</script>"""

DAYS = [((date(2025, 1, 1) + timedelta(days=n)).isoformat(), 1000 + 400 * math.sin(n / 9) + 5 * n) for n in range(200)]
NAMES = [
    "Research, development and engineering",
    "财务与人力资源部门以及其他部门",
    "إدارة المبيعات والتسويق",
    "WWWWWWWWWWWW",
    "Ops",
]
DATA: list[Any] = [
    DAYS,
    DAYS[:1],
    DAYS[:31],
    [(f"2024-{month:02}", month * 1234567.8) for month in range(1, 13)],
    [(f"Product number {n}", (n * 37) % 91 - 20) for n in range(200)],
    list(zip(NAMES, (5, -3, 7.25, 2, 9), strict=True)),
    [("A", 0), ("B", 0)],
    [("A", 123456789012), ("B", -9876543210)],
]
SEVERAL: list[Any] = [
    {name: [("Q1", n + 1), ("Q2", 5 - n), ("Q3", None), ("Q4", -n)] for n, name in enumerate(NAMES)},
    {"2024": DAYS[:60], "2025": DAYS[60:120]},
]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def every_chart() -> Iterator[str]:
    for width, unit in product((220, 400, 658), ("", "EUR")):
        named: dict[str, Any] = {"title": "Title of a chart", "unit": unit, "width": width}
        axes: dict[str, Any] = {"x_label": "Of what it is", "y_label": "How much it is"}
        for data in DATA + SEVERAL:
            yield from (lines(data, **named, **axes), stacked(data, **named, **axes), bars(data, **named))
        for data in DATA:
            yield donut(data[:9], **named, total="in all together")


@pytest.mark.parametrize("locale", ["", "de", "zh-CN", "ar-EG"])
def test_no_text_of_a_chart_is_over_another_or_outside(stage: Stage, locale: str) -> None:
    with rendering_in(locale, ""):
        made = list(every_chart())
    page = LOOK + "".join(made) + MEASURE

    async def measured() -> str:
        async with stage.page() as browser_page:
            return text_of(await browser_page.render(request(html=page)))

    said = stage.portal.call(measured)
    assert said.startswith(f"{len(made)} charts, 0 faults"), said[:1500]
