"""What an operator sees of a page that failed, from the browser to the page of its job, and after a restart."""

from pathlib import Path

import pytest

from tests.e2e.process import finished, open_daemon, submit
from tests.servers.site import hang, open_site

pytestmark = pytest.mark.browser

PAGE = "<h1>Sales</h1><img src=/gone.png><script>console.log('rows', 12); fetch('/rows.json')</script>"


async def test_a_page_that_timed_out_can_be_looked_at_afterwards(tmp_path: Path) -> None:
    async with open_site({"/report": PAGE, "/rows.json": hang}) as site:
        config = f"""
[queue]
max_attempts = 1
[triage]
max_redrives = 0
interval_seconds = 0.5
[reports.charts]
url = "{site.url("/report")}"
ready = "selector:#chart"
timeout_seconds = 1.5
evidence = true
"""
        async with open_daemon(tmp_path, config) as daemon:
            async with daemon.client() as client:
                task_id = await submit(client, "charts", {})
                report = await finished(client, task_id)
                assert report["error"]["kind"] == "timeout"
            assert await daemon.stop() == 0
            await daemon.start()
            async with daemon.client() as client:
                html = (await client.get(f"/jobs/{task_id}")).text
                jpeg = await client.get(f"/jobs/{task_id}/evidence/1.jpg")
            assert daemon.events("job.evidence_not_kept") == []
    for said in ("log: rows 12", f"{site.url('/gone.png')} answered 404", f"pending: {site.url('/rows.json')}"):
        assert said in html, said
    assert (jpeg.status_code, jpeg.headers["content-type"]) == (200, "image/jpeg")
    assert jpeg.content.startswith(b"\xff\xd8\xff")
