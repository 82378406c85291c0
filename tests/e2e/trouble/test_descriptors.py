"""A daemon that runs out of file descriptors at work: it lives and waits, and no job pays for it (I12)."""

import os
import signal
from pathlib import Path

import httpx
import pytest
import trio

from tests.descriptors import none_left
from tests.e2e.process import finished, open_daemon, submit
from tests.servers.site import Content, Reply, after, open_site

pytestmark = pytest.mark.browser

SHORTAGE_SECONDS = 4
"""Longer than a page may take."""

# One lost attempt ends a job here, and one page failure opens the breaker.
CONFIG = """
[log]
format = "json"
[queue]
max_attempts = 1
[breaker]
failure_threshold = 1
[pool]
browsers = 1
pages_per_browser = 2
isolation = "{isolation}"
[reports.page]
url = "{url}"
timeout_seconds = 3
"""


@pytest.mark.parametrize("isolation", ["page", "context", "browser"])
async def test_no_job_loses_an_attempt_and_no_breaker_counts(tmp_path: Path, isolation: str) -> None:
    pages: dict[str, Content] = {
        "/report": after(0.2, Reply("<p>report</p><img src='/picture'>")),
        "/picture": Reply("none"),
    }
    begun = trio.current_time()
    async with open_site(pages) as site:
        config = CONFIG.format(url=site.url("/report"), isolation=isolation)
        async with open_daemon(tmp_path, config) as daemon, daemon.client() as client:
            with none_left(daemon.pid):
                await trio.sleep(1)
            # The daemon notices it even while nothing needs a descriptor.
            assert len(daemon.events("descriptors.none_left")) == 1
            jobs = [await submit(client, "page", {}) for _ in range(12)]
            assert (await finished(client, jobs[0]))["state"] == "succeeded"
            pid = daemon.pid
            with none_left(pid):
                for second in range(SHORTAGE_SECONDS):
                    if second == SHORTAGE_SECONDS // 2:
                        for browser in daemon.browsers():
                            os.kill(browser, signal.SIGKILL)
                    await trio.sleep(1)
                    # On the connection that is open already. The server closes it after some seconds without a request.
                    assert (await client.get("/healthz")).status_code == httpx.codes.OK
            reports = [await finished(client, one) for one in jobs]
            assert [(report["state"], report["attempts"]) for report in reports] == [("succeeded", 1)] * len(jobs)
            (breaker,) = [
                one for one in (await client.get("/breakers")).json()["breakers"] if one["reportType"] == "page"
            ]
            assert (breaker["state"], breaker["failures"]) == ("closed", 0)
            assert daemon.pid == pid
            assert len(daemon.events("descriptors.none_left")) <= 1 + (trio.current_time() - begun) // 60
            assert await daemon.stop() == 0
        log = daemon.log.read_text()
        assert "Traceback" not in log
        assert log.count("retrying in 0.1 seconds") <= 1
