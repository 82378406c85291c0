"""A real daemon tells a receiver on this machine that a breaker has opened, and that it has closed."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.e2e.process import finished, open_daemon, submit
from tests.servers.site import Reply, Site, open_site
from tests.wording import mentions

pytestmark = pytest.mark.browser


def configuration(site: Site) -> str:
    return f"""
    public_url = "https://reports.example/"
    [queue]
    max_attempts = 1
    [triage]
    max_redrives = 0
    [breaker]
    failure_threshold = 2
    recovery_seconds = 0.5
    [alerts]
    webhook_url = "{site.url("/json-s3cret")}"
    slack_url = "{site.url("/slack-s3cret")}"
    [reports.flaky]
    url = "{site.url("/page")}"
    """


async def told(site: Site, kind: str) -> dict[str, Any]:
    """The first word of that kind about the breaker, as it came to the webhook."""
    with trio.fail_after(60):
        while True:
            for request in site.asked("/json-s3cret"):
                notice: dict[str, Any] = json.loads(request.body)
                if (notice["type"], notice["kind"]) == (kind, "breaker_open"):
                    return notice
            await trio.sleep(0.1)


async def test_a_breaker_that_opens_and_closes_is_told(tmp_path: Path) -> None:
    pages = {"/page": Reply("no", 500), "/json-s3cret": Reply(), "/slack-s3cret": Reply("ok")}
    async with (
        open_site(pages) as site,
        open_daemon(tmp_path, configuration(site)) as daemon,
        daemon.client() as client,
    ):
        for _ in range(2):
            assert (await finished(client, await submit(client, "flaky", {})))["state"] == "quarantined"
        raised = await told(site, "alert.raised")
        assert (raised["reportType"], raised["count"], raised["over"]) == ("flaky", 1, False)
        assert mentions(raised["text"], "breaker of flaky", "opened", " https://reports.example/")

        site.pages["/page"] = Reply("<p>well again")
        assert (await finished(client, await submit(client, "flaky", {})))["state"] == "succeeded"
        recovered = await told(site, "alert.recovered")
        assert recovered["signature"] == raised["signature"]
        with trio.fail_after(30):
            while not any(
                b"The breaker of flaky has closed" in request.body for request in site.asked("/slack-s3cret")
            ):
                await trio.sleep(0.1)
        assert await daemon.stop() == 0
    assert "s3cret" not in daemon.log.read_text()
