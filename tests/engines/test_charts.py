"""Charts of the libraries that most pages use are printed whole, with the settings that a report type has by default.

Each library animates its charts for a second. What is printed is compared with the same chart drawn without animation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reportd.ports import Pdf
from tests.documents.cases import Answer, Case, Opened
from tests.documents.opening import render
from tests.documents.sheets import Drawing, drawings_of
from tests.engines.brought import CHARTS, chart_library
from tests.servers.chromium import Stage, open_stage

pytestmark = pytest.mark.browser

PAGE = """
<!doctype html>
<style>body { margin: 0 } #box { height: 300px; position: relative }</style>
<div id="box"></div>
<script src="$SITE/library.js"></script>
<script>
const box = document.getElementById("box"), animated = ANIMATED;
const names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun"], values = [12, 19, 7, 24, 16, 21];
DRAW
</script>
"""
DRAW = {
    "chart.js": """
      const canvas = box.appendChild(document.createElement("canvas"));
      const options = {maintainAspectRatio: false, ...(animated ? {} : {animation: false})};
      const datasets = [{label: "Sold", data: values, backgroundColor: "#336699"}];
      new Chart(canvas, {type: "bar", data: {labels: names, datasets}, options});
    """,
    "echarts": """
      const series = [{type: "bar", data: values, color: "#336699"}];
      const xAxis = {type: "category", data: names};
      const grid = {left: 40, right: 10};
      echarts.init(box).setOption({grid, xAxis, yAxis: {}, series, ...(animated ? {} : {animation: false})});
    """,
    "highcharts": """
      const chart = {type: "column", ...(animated ? {} : {animation: false})};
      const plotOptions = animated ? {} : {series: {animation: false}};
      const series = [{name: "Sold", data: values, color: "#336699"}];
      Highcharts.chart(box, {chart, plotOptions, title: {text: "Sold"}, xAxis: {categories: names}, series});
    """,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "moving": {"reduced_motion": False},
    "stable": {"reduced_motion": False, "ready": "stable"},
    "A5": {"reduced_motion": False, "pdf": {"format": "A5"}},
    "landscape": {"reduced_motion": False, "pdf": {"landscape": True}},
}
WIDTHS = {"A5": (148, 128), "landscape": (297, 277)}
"""Of the paper, and of what is within its margins, in mm; the others are A4."""

CLOSE_MM = 5.0
"""How far from the margin a chart's outermost label may end."""

DIFFERENT_SHARE = 0.0005
"""Of all pixels. A bar that is a tenth too low is twenty times that."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize(("setting", "way"), [("default", "template"), *((setting, "url") for setting in SETTINGS)])
@pytest.mark.parametrize("library", CHARTS)
def test_a_chart_is_printed_whole(library: str, setting: str, way: str, stage: Stage, tmp_path: Path) -> None:
    report = SETTINGS[setting]
    printed = drawing(library, way, report, stage, tmp_path, animated=True)
    still = drawing(library, way, {**report, "ready": "stable"}, stage, tmp_path, animated=False)
    assert different(printed, still) < DIFFERENT_SHARE
    paper, within = WIDTHS.get(setting, (210, 190))
    painted = printed.painted()
    assert painted is not None
    assert painted[2] - painted[0] == pytest.approx(within, abs=2 * CLOSE_MM)
    assert painted[2] < (paper + within) / 2 + 0.5


def drawing(library: str, way: str, report: dict[str, Any], stage: Stage, folder: Path, *, animated: bool) -> Drawing:
    page = PAGE.replace("DRAW", DRAW[library]).replace("ANIMATED", "true" if animated else "false")
    answer = Answer(body=chart_library(library).read_text(), type="text/javascript")
    hosts = {"allowed_hosts": ["127.0.0.1"]} if way == "template" else {}
    case = Case(says=library, page=page, report={**report, **hosts}, answers={"/library.js": answer})
    outcome, _, _ = stage.portal.call(render, Opened(library, case, way), stage, folder)
    assert isinstance(outcome, Pdf), outcome
    assert outcome.warnings == ()
    assert outcome.data is not None
    (page_drawn,) = drawings_of(outcome.data)
    return page_drawn


def different(one: Drawing, other: Drawing) -> float:
    """The share of pixels that differ by more than a shade."""
    assert (one.width, one.height) == (other.width, other.height)
    pairs = zip(one.pixels[::3], other.pixels[::3], strict=True)
    return sum(abs(first - second) > 24 for first, second in pairs) / (one.width * one.height)
