"""A page as a product has it, of React and Ant Design: its server verifies whom it is rendered for, by the verifier of
docs/INTERFACE.md; its parameters are in its window, and it says when it is done.

It is compared with the same page that is waited for by a selector.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import quantiles

import orjson
import pytest
import trio

from reportd.adapters.jwt_signer import JwtSigner
from reportd.core.jobs.render_claims import hash_of
from reportd.core.pages.post import json_body
from reportd.ports import Pdf, Ready, RenderRequest, TokenPlace
from tests.documents.test_verifiers import PythonVerifier
from tests.documents.verifiers import claims_of
from tests.engines.brought import PAGE_LIBRARIES, page_library
from tests.render_keys import a_key
from tests.servers.chromium import Stage, fault_of, open_stage, request, text_of
from tests.servers.keys import serving_keys
from tests.servers.site import Content, Handler, Reply, Request, Site, open_site

pytestmark = pytest.mark.browser

JOBS = 40
ROWS = 60

RUN_SECONDS = 300.0

SLOWER = 1.1
"""Two runs of the same thing differ by less."""

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


def job(site: Site, ready: Ready, number: int, signer: JwtSigner) -> RenderRequest:
    rows = [
        {"article": f"article {number}-{row}", "state": "paid" if row % 3 else "open", "amount": row + number / 100}
        for row in range(ROWS)
    ]
    parameters = orjson.dumps({"order": f"no {number}", "rows": rows}).decode()
    wanted = request(url=site.url("/report"), ready=ready, inject="REPORT", token=TokenPlace(header="Authorization"))
    claims = claims_of(audience=site.url(""), task_id=wanted.task_id, parameters_sha256=hash_of(parameters))
    return replace(wanted, parameters=parameters, body=json_body(parameters), token=signer.sign(claims))


def test_all_its_jobs_are_printed_whole_and_as_fast_as_by_a_selector(stage: Stage) -> None:
    seconds = stage.portal.call(run, stage)
    # What else runs on the machine makes some of them slower; the fastest quarter tells of the page.
    usual = {way: quantiles(taken, n=4)[0] for way, taken in seconds.items()}
    assert usual["page"] <= SLOWER * usual["selector"], usual


async def run(stage: Stage) -> dict[str, list[float]]:
    """Print all jobs in both ways. Return the seconds that each took, by the way."""
    scripts = "".join(f"<script src=/{name}.js></script>" for name in PAGE_LIBRARIES)
    pages: dict[str, Content] = {}
    for name in PAGE_LIBRARIES:
        pages[f"/{name}.js"] = Reply(page_library(name).read_bytes(), content_type="text/javascript")
    seconds: dict[str, list[float]] = {"page": [], "selector": []}
    signer = JwtSigner("reportd", [a_key("2026-11")])
    with serving_keys(signer.public_keys) as keys, trio.fail_after(RUN_SECONDS):
        async with open_site(pages) as site, stage.page() as page:
            site.pages["/report"] = verifying(PythonVerifier(keys, site.url("")), PAGE.replace("SCRIPTS", scripts))
            for number in range(JOBS):
                ways = [Ready("page"), Ready("selector", "#root.done")]
                for ready in ways[:: 1 if number % 2 else -1]:
                    progress: list[float] = []
                    wanted = job(site, ready, number, signer)
                    begun = trio.current_time()
                    pdf = await page.render(wanted, on_progress=progress.append)
                    seconds[ready.kind].append(trio.current_time() - begun)
                    check(pdf, number)
                    assert (0 in progress) is (ready.kind == "page")
                    await page.scrub()
            forged = replace(wanted, body=json_body("{}"))
            fault = await fault_of(page, forged)
            assert fault is not None
            assert fault.detail == f"{site.url('/report')} answered 403"
    return seconds


def verifying(verifier: PythonVerifier, html: str) -> Handler:
    """The page for those that have a token for it and for what they sent, and for nobody else."""

    async def handle(asked: Request, stream: trio.SocketStream) -> None:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        claims = await trio.to_thread.run_sync(verifier.claims, token, asked.body.decode())
        known = claims is not None and claims["taskId"] == request().task_id
        await stream.send_all((Reply(html) if known else Reply("<p>Not for you", status=403)).encoded())

    return handle


def check(pdf: Pdf, number: int) -> None:
    assert pdf.warnings == ()
    text = text_of(pdf)
    for said in (f"Order no {number}", f"article {number}-0 ", f"article {number}-{ROWS - 1} ", "complete"):
        assert said in text, said
    assert "loading" not in text
