"""A real daemon tells a receiver on this machine how its reports ended, whatever befalls the two of them."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from standardwebhooks import Webhook

from tests.e2e.process import USER, finished, open_daemon
from tests.servers.site import Reply, Site, hang, open_site

pytestmark = pytest.mark.browser

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PARAMETERS: dict[str, Any] = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "茶", "quantity": 3, "revenue": 12.5}],
}


def configuration(site: Site) -> str:
    """A type that succeeds, and one that can't."""
    return f"""
    [triage]
    max_redrives = 0
    [callbacks]
    allowed_hosts = ["127.0.0.1:{site.port}"]
    secret = "{SECRET}"
    [reports.broken]
    url = "{site.url("/no-such-page")}"
    callback_url = "{site.url("/default?token=s3cret")}"
    """


async def submit(client: httpx.AsyncClient, report_type: str, parameters: Any, **more: Any) -> str:
    body = {"reportType": report_type, "parameters": parameters, "userId": USER, **more}
    answer = await client.post("/reports/generate-async", json=body)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return str(answer.json()["taskId"])


async def told(client: httpx.AsyncClient, task_id: str, state: str) -> dict[str, Any]:
    """The report, once its callback is in that state."""
    with trio.fail_after(60):
        while True:
            report: dict[str, Any] = (await client.get(f"/reports/{task_id}")).json()
            if report["callback"] and report["callback"]["state"] == state:
                return report
            await trio.sleep(0.1)


async def test_success_and_failure_are_told_signed(tmp_path: Path) -> None:
    async with open_site({"/done": Reply(), "/default": Reply()}) as site:
        async with open_daemon(tmp_path, configuration(site)) as daemon, daemon.client() as client:
            well = await submit(client, "sales_summary", PARAMETERS, callbackUrl=site.url("/done?token=s3cret"))
            broken = await submit(client, "broken", {})
            for task_id, path, state in ((well, "/done", "succeeded"), (broken, "/default", "quarantined")):
                report = await told(client, task_id, "delivered")
                assert report.pop("callback") == {"state": "delivered", "attempts": 1, "nextAt": None, "error": None}
                assert report.pop("options") == {}
                (request,) = site.asked(path)
                sent = Webhook(SECRET).verify(request.body, dict(request.headers))
                assert sent == {"type": f"report.{state}", "timestamp": report["finishedAt"], "data": report}
            assert await daemon.stop() == 0
        for secret in ("s3cret", SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in daemon.log.read_text()


async def test_a_killed_daemon_s_callback_is_sent_by_the_next_one_with_the_same_id(tmp_path: Path) -> None:
    async with (
        open_site({"/done": hang}) as site,
        open_daemon(tmp_path, configuration(site)) as daemon,
        daemon.client() as client,
    ):
        task_id = await submit(client, "sales_summary", PARAMETERS, callbackUrl=site.url("/done"))
        await finished(client, task_id)
        with trio.fail_after(30):
            while not site.asked("/done"):
                await trio.sleep(0.05)
        await daemon.kill()
        site.pages["/done"] = Reply()
        await daemon.start()
        report = await told(client, task_id, "delivered")
    assert report["callback"]["attempts"] == 2
    first, second = site.asked("/done")
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
