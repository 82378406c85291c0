"""`make bench`: the whole daemon against the limit of the machine, in the same run, as ratios.

Rounds of limit and daemon alternate, so that a machine whose speed drifts slows both; the median ratio counts.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import httpx
import jinja2
import trio

from reportd.system import logs
from tests.bench.cost import compare
from tests.bench.http import submissions_per_second
from tests.bench.incident import WANTED, replay
from tests.bench.letters import LETTERS, restarted
from tests.bench.limit import renders_per_second
from tests.bench.pages import CONFIG, SIZES, TEMPLATE, parameters
from tests.bench.watchers import PAGES, watching
from tests.e2e.cluster import engines_config, new_engines
from tests.e2e.process import Daemon, finished, open_daemon, submit
from tests.servers.aws import ENVIRONMENT, running_moto

SECONDS_A_ROUND = 12.0
LONE_JOBS = 15

PARTS = ("renders", "latency", "submissions", "engines", "watchers", "letters", "incident")

LASTING = "[pool]\nrecycle_after_jobs = 100000\n"
"""The processor time of a browser that has been replaced can't be asked for any more."""


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=PARTS)
    options.add_argument("--poison", choices=tuple(WANTED), help="only that kind of it")
    options.add_argument("--minutes", type=float, default=3.0, help="of each of the incident's six runs")
    chosen = options.parse_args()
    logs.set_up("warning", "console")
    trio.run(_bench, chosen.rounds, chosen.only, chosen.minutes, chosen.poison)


async def _bench(rounds: int, only: str | None, minutes: float, poison: str | None) -> None:
    with tempfile.TemporaryDirectory(prefix="reportd-bench-") as name:
        folder = Path(name)
        (folder / "bench.html").write_text(TEMPLATE)
        if only in (None, "renders"):
            print("Throughput, PDFs a second, submitted and stored; the limit is a bare loop over warm pages")
            for size, rows in SIZES.items():
                await _throughput(folder, size, rows, rounds)
        if only in (None, "latency"):
            print("Latency of a lone job, milliseconds from submission to the end; a bare render beside it")
            for size, rows in SIZES.items():
                await _latency(folder, size, rows)
        if only in (None, "engines"):
            print("Throughput on SQS and S3 (moto in a process of its own) beside the embedded parts")
            await _engines(folder, rounds)
        if only in (None, "submissions"):
            print("Submissions a second, each 202 durable")
            await _submissions(folder, rounds)
        if only in (None, "watchers"):
            print("What open status pages cost")
            async with open_daemon(_fresh(folder, "watchers"), CONFIG + LASTING) as daemon:
                rows = SIZES["1 page"]
                await _run(daemon, rows, 20)
                beside = partial(watching, daemon.port, PAGES)
                await compare(daemon, _run, rows, 300, rounds, f"{PAGES} pages open", beside)
        if only in (None, "letters"):
            print("What the triage of dead letters costs")
            await _letters(folder, rounds)
        if only == "incident":
            print(f"Two types share one queue and two slots; one job in ten is poison; {minutes:g} minutes a run")
            await replay(folder, minutes, Path("out"), [poison] if poison else list(WANTED))


async def _engines(folder: Path, rounds: int) -> None:
    rows, count = SIZES["400 rows"], 100
    embedded, engines = [], []
    with running_moto() as server:
        for number in range(rounds):
            async with open_daemon(_fresh(folder, f"embedded-{number}"), CONFIG) as daemon:
                await _run(daemon, rows, 4)
                embedded.append(await _run(daemon, rows, count))
            config = CONFIG.replace("[queue]", engines_config(server, *new_engines(server)) + "prefetch = 10")
            async with open_daemon(_fresh(folder, f"engines-{number}"), config, ENVIRONMENT) as daemon:
                await _run(daemon, rows, 4)
                engines.append(await _run(daemon, rows, count))
    _row("400 rows", "embedded", embedded, "SQS and S3", engines)


async def _letters(folder: Path, rounds: int) -> None:
    rows = SIZES["400 rows"]
    async with open_daemon(_fresh(folder, "letters"), CONFIG + LASTING) as daemon:
        await _run(daemon, rows, 20)
        beside, alone = partial(restarted, daemon, LETTERS), partial(restarted, daemon)
        await compare(daemon, _run, rows, 400, rounds, f"{LETTERS} dead letters", beside, alone)


async def _throughput(folder: Path, size: str, rows: int, rounds: int) -> None:
    html = jinja2.Template(TEMPLATE).render(parameters(rows))
    count = 4 * int(2 + SECONDS_A_ROUND * await renders_per_second(html, 6, 2, folder / "limit") / 4)
    limits, daemons = [], []
    for number in range(rounds):
        limits.append(await renders_per_second(html, count, 2, folder / "limit"))
        async with open_daemon(_fresh(folder, f"{rows}-{number}"), CONFIG) as daemon:
            await _run(daemon, rows, 4)
            daemons.append(await _run(daemon, rows, count))
    _row(size, "limit", limits, "daemon", daemons)


async def _run(daemon: Daemon, rows: int, count: int) -> float:
    """PDFs a second for ``count`` jobs that are submitted at once."""
    async with daemon.client() as client:
        begun = time.time()
        before = (await client.get("/status")).json()["jobs"]["succeeded"]
        async with trio.open_nursery() as nursery:
            left = iter(range(count))
            for _ in range(8):
                nursery.start_soon(_submit, client, rows, left)
        while (await client.get("/status")).json()["jobs"]["succeeded"] < before + count:
            await trio.sleep(0.5)  # a look costs what a small render does
        ends = [report["finishedAt"] for report in (await client.get("/reports?limit=200")).json()["reports"]]
        return count / (datetime.fromisoformat(max(ends)).timestamp() - begun)


async def _submit(client: httpx.AsyncClient, rows: int, left: Iterator[int]) -> None:
    for _ in left:
        await submit(client, "bench", parameters(rows))


async def _latency(folder: Path, size: str, rows: int) -> None:
    html = jinja2.Template(TEMPLATE).render(parameters(rows))
    bare = 1000 / await renders_per_second(html, LONE_JOBS, 1, folder / "limit")
    async with open_daemon(_fresh(folder, f"lone-{rows}"), CONFIG) as daemon, daemon.client() as client:
        times = []
        for _ in range(LONE_JOBS + 3):
            begun = trio.current_time()
            await finished(client, await submit(client, "bench", parameters(rows)))
            times.append(1000 * (trio.current_time() - begun))
    lone = statistics.median(times[3:])
    print(f"  {size:10}  bare {bare:7.1f}   lone job {lone:7.1f}   ratio {lone / bare:.2f}")


async def _submissions(folder: Path, rounds: int) -> None:
    # Pages that never answer hold the slots without using the processor, so that only the intake is measured.
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    config = CONFIG + f'[reports.held]\nurl = "http://127.0.0.1:{port}/"\ntimeout_seconds = 600\n'
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _never_answer, listeners)
        async with open_daemon(_fresh(folder, "intake"), config) as daemon, daemon.client() as client:
            for _ in range(8):
                await submit(client, "held", {})
            await submissions_per_second(daemon.port, 8, 200)
            for concurrency, count in ((1, 300), (32, 3000)):
                rates = [await submissions_per_second(daemon.port, concurrency, count) for _ in range(rounds)]
                shown = ", ".join(f"{rate:.0f}" for rate in rates)
                print(f"  concurrency {concurrency:2}  median {statistics.median(rates):6.0f}/s   of {shown}")
        nursery.cancel_scope.cancel()


async def _never_answer(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


def _row(size: str, one: str, ones: list[float], other: str, others: list[float]) -> None:
    ratios = sorted(b / a for a, b in zip(ones, others, strict=True))
    a, b = statistics.median(ones), statistics.median(others)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"  {size:10}  {one} {a:6.2f}   {other} {b:6.2f}   ratio {statistics.median(ratios):.2f}  ({spread})")


def _fresh(folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    (place / "bench.html").write_text(TEMPLATE)
    return place


if __name__ == "__main__":
    main()
