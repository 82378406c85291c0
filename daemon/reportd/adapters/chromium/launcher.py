"""Starts browsers. Other packages use only ``open_launcher``."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from reportd.adapters.chromium.browser import FLAGS, ChromiumBrowser, find_executable
from reportd.adapters.chromium.process.authorities import write_authorities
from reportd.adapters.chromium.process.cgroup import Groups, take_over
from reportd.adapters.chromium.process.container import ADVICE, open_container
from reportd.adapters.chromium.process.limits import Limits
from reportd.adapters.chromium.process.process import BrowserProcess, open_process
from reportd.adapters.chromium.process.run_folder import open_run_folder
from reportd.adapters.chromium.protocol.cdp import open_cdp
from reportd.adapters.egress.own_ports import OwnPorts
from reportd.concurrency.nurseries import open_background
from reportd.ports import Browser, BrowserError, Launcher
from reportd.system.authorities import read_authorities
from reportd.system.file_limit import MOST_PAGE_CONNECTIONS

BROWSER_MIB = 512
"""Memory of a browser besides its page's renderer."""


@dataclass(frozen=True, slots=True)
class ChromiumSettings:
    """How to start browsers.

    ``executable``: a path; empty to search for one. ``heap_mib``: V8's limit per page; ``renderer_limit_mib``: limit of
    a page's whole process. ``container``: whether to check at start that browsers can run in namespaces of their own.
    ``page_connections``: the most connections that a page may have at once. ``ca_file``: PEM file of authorities that
    pages trust, too.
    """

    executable: str = ""
    start_seconds: float = 20.0
    renderer_limit_mib: float = 2048.0
    heap_mib: int = 1024
    container: bool = False
    page_connections: int = MOST_PAGE_CONNECTIONS
    ca_file: Path | None = None


@asynccontextmanager
async def open_launcher(
    settings: ChromiumSettings, data_dir: Path, forbidden: Callable[[str, int], bool]
) -> AsyncIterator[Launcher]:
    """Yield a launcher of browsers. ``forbidden``: whether an address is the daemon's own, which no page may reach.

    Raises BrowserError, with what to do, when containers are configured but not possible, or the ``ca_file`` can't be
    used.
    """
    spool = data_dir / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    for leftover in spool.glob("pdf-*.part"):
        leftover.unlink()
    groups = take_over()
    async with open_run_folder(data_dir / "browsers") as run_folder:
        authorities = None
        if settings.ca_file is not None:
            authorities = run_folder / "authorities"
            await trio.to_thread.run_sync(_trust, settings.ca_file, authorities)
        launcher = _Launcher(settings, run_folder, spool, forbidden, groups, authorities)
        if settings.container:
            await launcher.try_container()
        yield launcher


def _trust(ca_file: Path, folder: Path) -> None:
    try:
        write_authorities(folder, read_authorities(ca_file))
    except (OSError, ValueError) as error:
        raise BrowserError(f"pool.ca_file: {ca_file}: {error}") from error


class _Launcher:
    def __init__(
        self,
        settings: ChromiumSettings,
        run_folder: Path,
        spool: Path,
        forbidden: Callable[[str, int], bool],
        groups: Groups | None,
        authorities: Path | None,
    ) -> None:
        self._settings = settings
        self._run_folder = run_folder
        self._spool = spool
        self._ports = OwnPorts(forbidden)
        self._groups = groups
        self._authorities = authorities

    def launch(self, *, container: bool = False) -> AbstractAsyncContextManager[Browser]:
        return self._launch_contained() if container else self._launch()

    @asynccontextmanager
    async def _launch(self) -> AsyncIterator[Browser]:
        command = [find_executable(self._settings.executable), *self._flags()]
        if os.geteuid() == 0:
            # Chromium can't start its sandbox as root. Any other user gets the sandbox.
            command.append("--no-sandbox")
        seconds = self._settings.start_seconds
        opened = open_process(command, self._run_folder, seconds, self._groups, authorities=self._authorities)
        async with opened as process, self._connected(process) as browser:
            yield browser

    @asynccontextmanager
    async def _launch_contained(self) -> AsyncIterator[Browser]:
        settings = self._settings
        memory_mib = round(settings.renderer_limit_mib)
        limits = Limits(memory_mib=memory_mib + BROWSER_MIB, profile_mib=memory_mib)
        with open_container(find_executable(settings.executable), self._run_folder.parent.parent, limits) as container:
            command = [container.program, *self._flags()]
            opened = open_process(
                command, self._run_folder, settings.start_seconds, self._groups, container, self._authorities
            )
            async with opened as process, self._connected(process) as browser:
                yield browser

    async def try_container(self) -> None:
        """Start a browser in a container and end it. Raises BrowserError with what to do."""
        try:
            async with self._launch_contained():
                pass
        except BrowserError as error:
            raise BrowserError(f'isolation = "container" is not possible: {error}; check that {ADVICE}') from error

    def _flags(self) -> list[str]:
        return [*FLAGS, f"--js-flags=--max-old-space-size={self._settings.heap_mib}"]

    @asynccontextmanager
    async def _connected(self, process: BrowserProcess) -> "AsyncIterator[ChromiumBrowser]":
        async with open_cdp(process.read_fd, process.write_fd) as cdp:
            browser = ChromiumBrowser(process, cdp, self._spool, self._ports, self._settings.page_connections)
            async with open_background() as nursery:
                nursery.start_soon(browser.watch, self._settings.renderer_limit_mib)
                yield browser
