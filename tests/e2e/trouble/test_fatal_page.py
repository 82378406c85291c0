"""A page that takes its browser with it, each time: it is given two, and its neighbours lose nothing (I5)."""

import os
import signal
from pathlib import Path

import pytest
import trio

from reportd.adapters.chromium.process.proc import group_members, memory_mib
from tests.e2e.process import Daemon, finished, open_daemon, submit
from tests.servers.site import Reply, Request, Site, hang, open_site

pytestmark = pytest.mark.browser

HEALTHY_JOBS = 50
GROWN_MIB = 200
GROWS = f"""<script>
const all = []
for (let n = 1; n <= {GROWN_MIB // 50}; n++) all.push(new Uint8Array(50 * 2 ** 20).fill(n))
document.write("<img src=/grown>")
</script>"""


class Killer:
    """Does to a page that has grown what the kernel does when memory is short, and worse: to its whole browser.

    The first time, in the browser that all share, it waits until there is a neighbour.
    """

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self.killed: list[int] = []
        self._daemon = daemon
        self._under_way = 0
        site.pages |= {"/fatal": GROWS, "/grown": self._grown, "/healthy": self._healthy}

    async def _healthy(self, request: Request, stream: trio.SocketStream) -> None:
        self._under_way += 1
        try:
            await trio.sleep(0.2)
            await stream.send_all(Reply("<p>healthy").encoded(request.method))
        finally:
            self._under_way -= 1

    async def _grown(self, request: Request, stream: trio.SocketStream) -> None:
        while not self.killed and not self._under_way:
            await trio.sleep(0.01)
        browsers = {member: browser for browser in self._daemon.browsers() for member in group_members(browser)}
        fattest = max(browsers, key=memory_mib)
        assert memory_mib(fattest) > GROWN_MIB
        self.killed.append(browsers[fattest])
        os.kill(browsers[fattest], signal.SIGKILL)
        await hang(request, stream)


async def test_it_loses_two_browsers_and_its_neighbours_no_attempt(tmp_path: Path) -> None:
    async with open_site() as site:
        config = f"""
[pool]
browsers = 1
pages_per_browser = 2
[reports.fatal]
url = "{site.url("/fatal")}"
[reports.healthy]
url = "{site.url("/healthy")}"
"""
        async with open_daemon(tmp_path, config) as daemon, daemon.client() as client:
            killer = Killer(site, daemon)
            healthy = [await submit(client, "healthy", {}) for _ in range(5)]
            fatal = await submit(client, "fatal", {})
            healthy += [await submit(client, "healthy", {}) for _ in range(HEALTHY_JOBS - 5)]

            report = await finished(client, fatal)
            assert (report["state"], report["error"]["kind"]) == ("quarantined", "browser_lost")
            assert len(set(killer.killed)) == len(killer.killed) == len(site.asked("/fatal")) == 2

            reports = [await finished(client, task_id) for task_id in healthy]
            assert [(report["state"], report["attempts"]) for report in reports] == [("succeeded", 1)] * HEALTHY_JOBS
            hurt = {entry["taskId"] for entry in daemon.events("job.failed")} - {fatal}
            assert hurt, "no neighbour was in the browser that died, so nothing was shown"
            # The second one died alone, in a browser that was nobody else's.
            assert (await client.get("/status")).json()["pool"]["lost"] == 1
