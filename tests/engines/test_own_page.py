"""A page as a product has it, of React and Ant Design: its parameters are in its window, and it says when it is done.

It is compared with the same page that is waited for by a selector.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import orjson
import pytest
import trio

from reportd.ports import Pdf, Ready, RenderRequest
from tests.engines.brought import PAGE_LIBRARIES, page_library
from tests.servers.chromium import Stage, open_stage, request, text_of
from tests.servers.site import Content, Reply, Site, open_site

pytestmark = pytest.mark.browser

JOBS = 40
ROWS = 60

RUN_SECONDS = 300.0

SLOWER = 1.1
"""The medians of two runs of the same thing differ by less."""

PAGE = """<!doctype html><meta charset=utf-8><div id=root></div>
SCRIPTS
<script>
const {Alert, Descriptions, Progress, Table, Tag} = antd, {createElement: e, useEffect, useState} = React;
const {parameters: {order, rows}} = window.REPORT;
const columns = [
  {title: "Article", dataIndex: "article"},
  {title: "State", dataIndex: "state", render: (state) => e(Tag, {color: state === "paid" ? "green" : "red"}, state)},
  {title: "Amount", dataIndex: "amount", align: "right", render: (amount) => amount.toFixed(2)},
];
function Report() {
  const [shown, show] = useState(0);
  useEffect(() => {
    if (shown < rows.length) {
      window.reportd?.progress(shown / rows.length);
      const timer = setTimeout(() => show(shown + 20), 5);
      return () => clearTimeout(timer);
    }
    document.getElementById("root").className = "done";
    window.reportd?.ready();
  }, [shown]);
  return e(antd.ConfigProvider, {theme: {token: {motion: false}}},
    e(Descriptions, {title: "Order " + order, bordered: true, items: [{key: 1, label: "Rows", children: rows.length}]}),
    e(Progress, {percent: 75}),
    e(Table, {columns, dataSource: rows.slice(0, shown), rowKey: "article", pagination: false, size: "small"}),
    e(Alert, {message: shown < rows.length ? "loading" : "complete", type: "info"}));
}
ReactDOM.createRoot(document.getElementById("root")).render(e(Report));
</script>
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def job(site: Site, ready: Ready, number: int) -> RenderRequest:
    rows = [
        {"article": f"article {number}-{row}", "state": "paid" if row % 3 else "open", "amount": row + number / 100}
        for row in range(ROWS)
    ]
    parameters = orjson.dumps({"order": f"no {number}", "rows": rows}).decode()
    return replace(request(url=site.url("/report"), ready=ready, inject="REPORT"), parameters=parameters)


def test_all_its_jobs_are_printed_whole_and_as_fast_as_by_a_selector(stage: Stage) -> None:
    seconds = stage.portal.call(run, stage)
    medians = {way: median(taken) for way, taken in seconds.items()}
    assert medians["page"] <= SLOWER * medians["selector"], medians


async def run(stage: Stage) -> dict[str, list[float]]:
    """Print all jobs in both ways. Return the seconds that each took, by the way."""
    scripts = "".join(f"<script src=/{name}.js></script>" for name in PAGE_LIBRARIES)
    pages: dict[str, Content] = {"/report": PAGE.replace("SCRIPTS", scripts)}
    for name in PAGE_LIBRARIES:
        pages[f"/{name}.js"] = Reply(page_library(name).read_bytes(), content_type="text/javascript")
    seconds: dict[str, list[float]] = {"page": [], "selector": []}
    with trio.fail_after(RUN_SECONDS):
        async with open_site(pages) as site, stage.page() as page:
            for number in range(JOBS):
                ways = [Ready("page"), Ready("selector", "#root.done")]
                for ready in ways[:: 1 if number % 2 else -1]:
                    progress: list[float] = []
                    begun = trio.current_time()
                    pdf = await page.render(job(site, ready, number), on_progress=progress.append)
                    seconds[ready.kind].append(trio.current_time() - begun)
                    check(pdf, number)
                    assert (0 in progress) is (ready.kind == "page")
                    await page.scrub()
    return seconds


def check(pdf: Pdf, number: int) -> None:
    assert pdf.warnings == ()
    text = text_of(pdf)
    for said in (f"Order no {number}", f"article {number}-0 ", f"article {number}-{ROWS - 1} ", "complete"):
        assert said in text, said
    assert "loading" not in text
