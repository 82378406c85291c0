"""A page of a product's own, from the submission to the PDF: its parameters need no URL, and it says how it is."""

from pathlib import Path

import orjson
import pytest

from tests.e2e.process import finished, open_daemon, submit
from tests.servers.site import Content, open_site

pytestmark = pytest.mark.browser

CONFIG = """
[queue]
max_attempts = 1
[triage]
max_redrives = 0
[reports.by_post]
url = "SITE/post?task={taskId}"
method = "POST"
[reports.by_window]
url = "SITE/window"
inject = "REPORT"
ready = "page"
[reports.fails]
url = "SITE/fails"
ready = "page"
"""
ROWS = [{"n": n, "text": f"row {n} </script> é 茶"} for n in range(18000)]
PARAMETERS = {"rows": ROWS}
"""They have 900 KiB."""

WINDOW = """<p id=out></p><script>
  let steps = 0;
  const timer = setInterval(() => {
    reportd.progress(0.25);
    if ((steps += 1) < 10) return;
    clearInterval(timer);
    const {rows} = REPORT.parameters;
    out.textContent = `${rows.length} rows, the last: ${rows.at(-1).text}`;
    reportd.ready();
  }, 300);
</script>"""
FAILS = (
    "<script>reportd.progress(0.5); reportd.fail(new Error('no orders at https://api.test/orders?key=secret'))</script>"
)


async def test_a_page_gets_900_kib_and_says_how_far_it_is_and_why_it_fails(tmp_path: Path) -> None:
    pages: dict[str, Content] = {"/post": "<p>posted", "/window": WINDOW, "/fails": FAILS}
    async with (
        open_site(pages) as site,
        open_daemon(tmp_path, CONFIG.replace("SITE", site.url(""))) as daemon,
        daemon.client() as client,
    ):
        posted = await submit(client, "by_post", PARAMETERS)
        assert (await finished(client, posted))["state"] == "succeeded"
        (request,) = site.asked("/post")
        assert (request.method, request.query) == ("POST", {"task": posted})
        assert orjson.loads(request.body) == PARAMETERS

        task_id = await submit(client, "by_window", PARAMETERS)
        progress = set[float | None]()
        while (report := (await client.get(f"/reports/{task_id}?wait=0.2")).json())["state"] != "succeeded":
            assert report["state"] in ("queued", "running"), report
            progress.add(report["progress"])
        assert progress == {None, 0.25}
        assert report["progress"] is None

        report = await finished(client, await submit(client, "fails", {}))
        assert report["error"] == {"kind": "page_failed", "detail": "no orders at https://api.test/orders"}
        assert report["progress"] is None
        assert not daemon.events("progress.not_written")
