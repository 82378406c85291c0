"""The incident that breakers are there for, replayed: one report type in ten jobs goes bad and shares a queue and two
slots with a healthy one. How much of its pace does the healthy one keep, with breakers and without?
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.bench.pages import CONFIG, SIZES, TEMPLATE, parameters
from tests.bench.plot import draw
from tests.e2e.load import open_load
from tests.e2e.process import finished, open_daemon, submit
from tests.servers.site import Content, Site, hang, open_site

HEALTHY, POISONED = "bench", "poisoned"
TIMEOUT_SECONDS = 20
BACKLOG = 50
JUDGED_FROM_SECONDS = 30.0
"""By then a breaker has seen its three failures."""

BIN_SECONDS = 5.0
WANTED = {"hangs": 0.95, "spins": 0.85}
PAGES: dict[str, Content] = {"/hangs": hang, "/spins": "<title>Spins</title><script>for (;;);</script>"}
RUNS = {"no poison": (False, 3), "breakers on": (True, 3), "breakers off": (True, 1000)}
"""Whether there is poison, and the breakers' failure_threshold."""


@dataclass(frozen=True)
class Run:
    """``ends``: when each job of the healthy type succeeded, in seconds; ``poison``: renders that went wrong."""

    seconds: float
    ends: list[float]
    poison: int

    def pace(self, since: float = 0.0) -> float:
        """PDFs a second from then on."""
        return sum(since <= end < self.seconds for end in self.ends) / (self.seconds - since)

    def paces(self) -> list[tuple[float, float]]:
        """In the middle of each bin."""
        bins = [0] * math.ceil(self.seconds / BIN_SECONDS)
        for end in self.ends:
            if end < self.seconds:
                bins[int(end / BIN_SECONDS)] += 1
        return [((number + 0.5) * BIN_SECONDS, count / BIN_SECONDS) for number, count in enumerate(bins)]


async def replay(folder: Path, minutes: float, plots: Path, kinds: Sequence[str] = tuple(WANTED)) -> None:
    """A table on standard output, and a plot for each kind of poison."""
    judged = min(JUDGED_FROM_SECONDS, minutes * 30)
    print(f"  {'':20}PDFs/s in all   ratio   from {judged:3g} s   ratio   wanted   poison renders")
    async with open_site(PAGES) as site:
        for kind, wanted in ((kind, WANTED[kind]) for kind in kinds):
            runs: dict[str, Run] = {}
            for name, (poison, threshold) in RUNS.items():
                place = folder / f"{kind}-{name.replace(' ', '-')}"
                place.mkdir()
                (place / "bench.html").write_text(TEMPLATE)
                runs[name] = run = await _run(place, site, f"/{kind}", minutes * 60, threshold, poison=poison)
                clean = runs["no poison"]
                whole, late = run.pace() / clean.pace(), run.pace(judged) / clean.pace(judged)
                goal = f"{wanted:6.2f}" if name == "breakers on" else " " * 6
                print(
                    f"  {kind:6} {name:13}{run.pace():13.2f}{whole:8.2f}{run.pace(judged):13.2f}{late:8.2f}"
                    f"   {goal}{run.poison:17}",
                    flush=True,
                )
            title = f"PDFs a second of the healthy type; one job in ten {kind} for {TIMEOUT_SECONDS} s"
            path = plots / f"incident-{kind}.svg"
            draw(path, title, {name: run.paces() for name, run in runs.items()}, judged)
            print(f"  {path}")


async def _run(place: Path, site: Site, path: str, seconds: float, threshold: int, *, poison: bool) -> Run:
    config = f"""{CONFIG}
[pool]
browsers = 1
pages_per_browser = 2
[breaker]
failure_threshold = {threshold}
[reports.{POISONED}]
url = "{site.url(path)}"
timeout_seconds = {TIMEOUT_SECONDS}
"""
    site.requests.clear()
    mix = [HEALTHY] * 9 + [POISONED] if poison else [HEALTHY]
    report = parameters(SIZES["400 rows"])
    async with open_daemon(place, config) as daemon:
        async with daemon.client() as client:
            for _ in range(4):
                await finished(client, await submit(client, HEALTHY, report))
        async with open_load(daemon, mix, report, backlog=BACKLOG, doomed=[POISONED]) as load:
            await trio.sleep(seconds)
            return Run(seconds, await load.ends(HEALTHY), len(site.asked(path)))
