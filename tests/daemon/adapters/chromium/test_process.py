"""Browser processes: killed in part or as a whole, stuck, left over, and never outliving the daemon."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from reportd.adapters.chromium import ChromiumSettings, browser, open_launcher
from reportd.adapters.chromium import launcher as launcher_module
from reportd.adapters.chromium.browser import ChromiumBrowser
from reportd.adapters.chromium.process import process as process_module
from reportd.adapters.chromium.process import run_folder as run_folder_module
from reportd.adapters.chromium.process.proc import group_members
from reportd.adapters.chromium.process.process import open_process
from reportd.adapters.chromium.process.run_folder import open_run_folder
from reportd.core.faults import FaultKind
from reportd.ports import Browser, BrowserError, Launcher
from tests.servers.chromium import fault_of, request, text_of
from tests.servers.site import open_site

needs_browser = pytest.mark.browser
in_both = pytest.mark.parametrize("container", [False, True], ids=["browser", "container"])

SLOW = request(html="<p>slow", delay_seconds=20)
CRASH = "<script>for (let all = [];;) all.push(new Array(1e6).fill(Math.random()))</script>"
"""It fills the JavaScript heap, and V8 ends the process."""


@asynccontextmanager
async def launching(data_dir: Path, **settings: Any) -> AsyncIterator[Launcher]:
    with trio.fail_after(25):
        async with open_launcher(ChromiumSettings(**settings), data_dir, lambda _address, _port: False) as launcher:
            yield launcher


async def processes(running: Browser, kind: str) -> list[int]:
    """The ids of the browser's processes of this type."""
    assert isinstance(running, ChromiumBrowser)
    stock = await running._cdp.call("SystemInfo.getProcessInfo")
    return [process["id"] for process in stock["processInfo"] if kind in process["type"]]


def runs(data_dir: Path) -> list[Path]:
    return list(data_dir.glob("browsers/run-*"))


def profiles(data_dir: Path) -> list[Path]:
    return list(data_dir.glob("browsers/run-*/profile-*"))


def spooled(data_dir: Path) -> list[Path]:
    return list(data_dir.glob("spool/*"))


def assert_nothing_left(pid: int, data_dir: Path) -> None:
    assert group_members(pid) == []
    assert profiles(data_dir) == []


# --- killed -------------------------------------------------------------------------------------------------


@needs_browser
@in_both
async def test_a_browser_killed_in_the_middle_of_a_render(tmp_path: Path, *, container: bool) -> None:
    async with launching(tmp_path) as launcher:
        launched = launcher.launch(container=container)
        async with launched as running, running.page() as page, trio.open_nursery() as nursery:
            nursery.start_soon(_kill_soon, running.pid)
            fault = await fault_of(page, SLOW)
            assert fault is not None
            assert fault.kind is FaultKind.PAGE_CLOSED
            with trio.fail_after(1):
                await running.died.wait()
            assert not await page.scrub()
            with pytest.raises(BrowserError):
                async with running.page():
                    pass
        assert_nothing_left(running.pid, tmp_path)
        async with launcher.launch(container=container) as running, running.page() as page:
            assert text_of(await page.render(request(html="<p>next"))) == "next"


async def _kill_soon(*pids: int) -> None:
    await trio.sleep(0.3)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@needs_browser
async def test_a_renderer_killed_in_the_middle_of_a_render(tmp_path: Path) -> None:
    async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as other:
        assert text_of(await other.render(request(html="<p>before"))) == "before"
        before = await processes(running, "renderer")
        async with running.page() as page, trio.open_nursery() as nursery:
            (own,) = set(await processes(running, "renderer")) - set(before)
            nursery.start_soon(_kill_soon, own)
            fault = await fault_of(page, SLOW)
            assert fault is not None
            assert fault.kind is FaultKind.PAGE_CRASHED
        assert await other.scrub()
        assert text_of(await other.render(request(html="<p>after"))) == "after"
        assert not running.died.is_set()


@needs_browser
async def test_a_page_that_crashes_just_after_another_was_killed_is_not_taken_for_it(tmp_path: Path) -> None:
    async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as page:
        assert isinstance(running, ChromiumBrowser)
        # A kill of a spare renderer, whose end the browser has not reported yet.
        running._killed[1] = browser._Killed(1, 400.0, 300.0)
        fault = await fault_of(page, request(html=CRASH))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_CRASHED


@needs_browser
async def test_a_renderer_killed_while_it_prints(tmp_path: Path) -> None:
    html = "".join(f"<p>row {n}</p>" for n in range(40_000))
    async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as page:

        async def kill_while_printing() -> None:
            while page.activity != "printing":
                await trio.sleep(0.01)
            await _kill_soon(*await processes(running, "renderer"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_while_printing)
            fault = await fault_of(page, request(html=html))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_CRASHED


@needs_browser
async def test_a_helper_process_killed_in_the_middle_of_a_render(tmp_path: Path) -> None:
    """The browser restarts it; the job is not affected."""
    async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as page:
        async with trio.open_nursery() as nursery:
            helpers = await processes(running, "GPU")
            assert helpers
            nursery.start_soon(_kill_soon, *helpers)
            assert text_of(await page.render(request(html="<p>report", delay_seconds=0.6))) == "report"
        assert await page.scrub()
        async with running.page() as new:
            assert text_of(await new.render(request(html="<p>new"))) == "new"


@needs_browser
@in_both
async def test_a_page_may_have_its_share_of_connections(tmp_path: Path, *, container: bool) -> None:
    async with (
        launching(tmp_path, page_connections=17, container=container) as launcher,
        launcher.launch(container=container) as running,
        running.page() as page,
    ):
        assert page._egress._max_connections == 17  # type: ignore[attr-defined]


@needs_browser
async def test_the_egress_is_not_forgotten_with_the_network_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_site() as third, open_site() as site:
        site.pages["/report"] = f"<p>report<img src={third.url('/')}>"
        wanted = request(url=site.url("/report"))
        async with launching(tmp_path) as launcher, launcher.launch() as running:
            async with running.page() as page:
                assert text_of(await page.render(wanted)) == "report"
            assert await processes(running, "NetworkService") == []
        # Where there is one, as Chromium has it by default, a page whose egress is forgotten gets nowhere.
        monkeypatch.setattr(launcher_module, "FLAGS", [flag for flag in browser.FLAGS if "NetworkService" not in flag])
        async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as page:
            assert text_of(await page.render(wanted)) == "report"
            for pid in await processes(running, "NetworkService"):
                os.kill(pid, signal.SIGKILL)
            await trio.sleep(0.3)
            site.requests.clear()
            fault = await fault_of(page, wanted)
            assert fault is not None
            assert fault.kind is FaultKind.UNREACHABLE
            assert site.requests == []
            assert third.connections == 0


@needs_browser
async def test_a_browser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "HANG_SECONDS", 0.5)
    monkeypatch.setattr(browser, "WATCH_SECONDS", 0.1)
    async with launching(tmp_path) as launcher, launcher.launch() as running, running.page() as page:
        os.kill(running.pid, signal.SIGSTOP)
        fault = await fault_of(page, SLOW)
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_CLOSED
        with trio.fail_after(5):
            await running.died.wait()


@needs_browser
async def test_a_page_of_a_browser_that_hangs_is_taken_away_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "CLOSE_SECONDS", 0.5)
    async with launching(tmp_path) as launcher, launcher.launch() as running:
        with trio.fail_after(5):
            async with running.page():
                os.kill(running.pid, signal.SIGSTOP)
            await running.died.wait()


@needs_browser
@in_both
async def test_a_page_that_uses_too_much_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, container: bool
) -> None:
    monkeypatch.setattr(browser, "WATCH_SECONDS", 0.1)
    with capture_logs() as logs:
        await _use_too_much(tmp_path, container=container)
    (killed,) = [line for line in logs if line["event"] == "browser.renderer_killed"]
    assert killed["taskId"] == SLOW.task_id


async def _use_too_much(tmp_path: Path, *, container: bool) -> None:
    eat = "const all = []; setInterval(() => all.push(new Uint8Array(20e6).fill(1)), 20)"
    async with (
        launching(tmp_path, renderer_limit_mib=300.0) as launcher,
        launcher.launch(container=container) as running,
        running.page() as other,
        running.page() as page,
    ):
        fault = await fault_of(page, request(html=f"<script>{eat}</script>", delay_seconds=10))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_TOO_HEAVY
        found = re.fullmatch(
            r"the page's process used (\d+) MiB; pool\.renderer_limit_mib allows 300 MiB", fault.detail
        )
        assert found is not None, fault.detail
        assert 300 < int(found[1]) < 2000
        assert 10 < running.memory_mib() < 2000
        assert text_of(await other.render(request(html="<p>other"))) == "other"


# --- started and ended --------------------------------------------------------------------------------------


@needs_browser
@in_both
@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.1, 0.2, 0.3, 0.45])
async def test_a_start_that_is_called_off_leaves_nothing(tmp_path: Path, seconds: float, *, container: bool) -> None:
    pids = []
    async with launching(tmp_path) as launcher:
        with trio.move_on_after(seconds):
            async with launcher.launch(container=container) as running:
                pids.append(running.pid)
                async with running.page():
                    await trio.sleep_forever()
        assert profiles(tmp_path) == []
        assert [group_members(pid) for pid in pids] == [[] for _ in pids]
    assert runs(tmp_path) == []


def program_of(folder: Path, text: str) -> Path:
    """An executable file, or one that looks so."""
    file = folder / "program"
    file.write_text(text)
    file.chmod(0o755)
    return file


def profile_of(folder: Path, group: str) -> Path:
    """The folder of a browser, left by an earlier run."""
    profile = folder / "run-1" / "profile-1"
    profile.mkdir(parents=True)
    (profile / "pgid").write_text(group)
    return profile


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("#!/bin/sh\necho no display >&2; exit 3", "ended; it said: no display"),
        ("#!/bin/sh\necho no DevTools >&2; exec 4>&-; sleep 60", "did not start within 0.3 s; it said: no DevTools"),
        ("#!/bin/sh\nexit 3", "ended; it said: nothing"),
        ("#!/bin/sh\necho starting >&2; sleep 60", "did not start within 0.3 s; it said: starting"),
        ("no program", "ended; it said: "),
    ],
)
async def test_what_is_no_browser(tmp_path: Path, program: str, said: str) -> None:
    fake = program_of(tmp_path, program)
    async with launching(tmp_path, executable=str(fake), start_seconds=0.3) as launcher:
        with pytest.raises(BrowserError, match=said):
            async with launcher.launch():
                pass
        assert profiles(tmp_path) == []


async def test_no_browser_at_all(tmp_path: Path) -> None:
    async with launching(tmp_path, executable="/nowhere/chromium") as launcher:
        with pytest.raises(BrowserError, match="no Chromium at /nowhere/chromium: install"):
            async with launcher.launch():
                pass


async def test_no_setpriv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    async with launching(tmp_path, executable="/bin/true") as launcher:
        with pytest.raises(BrowserError, match="util-linux"):
            async with launcher.launch():
                pass


async def test_a_browser_gets_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTD_SECRET", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    fake = program_of(tmp_path, "#!/bin/sh\nenv >&2; exit 3")
    async with launching(tmp_path, executable=str(fake)) as launcher:
        with pytest.raises(BrowserError) as caught:
            async with launcher.launch():
                pass
    assert "LC_ALL=C.UTF-8" in str(caught.value)
    assert "SECRET" not in str(caught.value)


async def test_a_group_that_does_not_want_to_end(tmp_path: Path) -> None:
    """Orphaned children of the browser that ignore signals."""
    fake = "(sleep 61 &); (sleep 62 &); echo '{}' >&4; sleep 63; :"
    with trio.fail_after(10):
        async with open_run_folder(tmp_path) as folder:
            async with open_process(["/bin/sh", "-c", fake], folder, 5) as process:
                assert len(group_members(process.pid)) >= 3
            assert process.died.is_set()
            assert group_members(process.pid) == []
            assert not process.profile.exists()


async def test_a_disk_that_hangs_holds_up_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It delays neither the end of a browser nor that of the daemon for ever, and blocks no thread that others need."""
    goes_on, others = threading.Event(), trio.to_thread.current_default_thread_limiter()
    monkeypatch.setattr(process_module, "DISK_SECONDS", 0.2)
    monkeypatch.setattr(run_folder_module, "GUARD_SECONDS", 0.2)
    monkeypatch.setattr(run_folder_module, "_GUARD", "while read -r _; do :; done; sleep 1")
    remove = shutil.rmtree

    def hang(folder: Path, *, ignore_errors: bool) -> None:
        goes_on.wait(10)
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr("shutil.rmtree", hang)
    fake = "echo '{}' >&4; sleep 63; :"
    try:
        with trio.fail_after(5), trio.CancelScope() as ended:
            async with (
                open_run_folder(tmp_path) as folder,
                open_process(["/bin/sh", "-c", fake], folder, 5) as process,
            ):
                ended.cancel()
        assert process.died.is_set()
        assert others.borrowed_tokens == 0
    finally:
        goes_on.set()


# --- the daemon's own end -----------------------------------------------------------------------------------

DAEMON = """
import signal
import sys
from pathlib import Path
import structlog
import trio
from reportd.adapters.chromium import ChromiumSettings, open_launcher

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())

async def main():
    opened = open_launcher(ChromiumSettings(), Path(sys.argv[1]), lambda address, port: False)
    async with opened as launcher, launcher.launch(container=bool(sys.argv[2:])) as browser, browser.page():
        print(browser.pid, flush=True)
        await trio.sleep_forever()

# A shell has what it runs in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    trio.run(main)
except* KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@asynccontextmanager
async def daemon(data_dir: Path, *arguments: str) -> AsyncIterator[tuple["subprocess.Popen[str]", int]]:
    """A process that has a browser, and the browser's process id."""
    child = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(
            [sys.executable, "-c", DAEMON, str(data_dir), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    assert child.stdout is not None
    try:
        with child.stdout, trio.fail_after(20):
            yield child, int(await trio.to_thread.run_sync(child.stdout.readline))
    finally:
        child.kill()
        await trio.to_thread.run_sync(child.wait)


async def until(condition: Any, seconds: float = 5.0) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.02)


def guards(data_dir: Path) -> list[int]:
    """The guards of a folder's browsers."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if b"reportd-guard" in line and str(data_dir).encode() in line:
            found.append(int(file.parent.name))
    return found


@needs_browser
@in_both
async def test_nothing_outlives_a_daemon_that_is_killed(tmp_path: Path, *, container: bool) -> None:
    async with daemon(tmp_path, *["container"] * container) as (child, pid):
        assert group_members(pid)
        # Whoever stops a service tells all of its processes (systemd's KillMode=control-group).
        for guard in guards(tmp_path):
            os.kill(guard, signal.SIGTERM)
        assert guards(tmp_path)
        child.kill()
        await until(lambda: not group_members(pid))
        await until(lambda: not runs(tmp_path))
        await until(lambda: not guards(tmp_path))


@needs_browser
async def test_ctrl_c_ends_the_daemon_first_and_then_its_browsers(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (child, pid):
        os.killpg(child.pid, signal.SIGINT)
        assert child.stdout is not None
        assert await trio.to_thread.run_sync(child.stdout.readline) == "interrupted\n"
        assert await trio.to_thread.run_sync(child.wait) == 0
        assert group_members(pid) == []
        assert runs(tmp_path) == []
        await until(lambda: not guards(tmp_path))


@needs_browser
async def test_a_start_clears_up_after_a_run_whose_guard_was_killed_too(tmp_path: Path) -> None:
    async with daemon(tmp_path) as (child, pid):
        for guard in guards(tmp_path):
            os.kill(guard, signal.SIGKILL)
        child.kill()
        await until(lambda: not group_members(pid))
        assert runs(tmp_path)
        await trio.Path(tmp_path, "spool", "pdf-1.part").write_text("half a PDF")
        async with launching(tmp_path):
            assert len(runs(tmp_path)) == 1
            assert spooled(tmp_path) == []


@asynccontextmanager
async def sleeper(*arguments: str) -> AsyncIterator[int]:
    """A process that leads a group of its own."""
    child = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & wait", *arguments], start_new_session=True)  # noqa: ASYNC220
    try:
        await until(lambda: len(group_members(child.pid)) == 2)
        yield child.pid
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@pytest.mark.parametrize("number", ["{pid}", "{pid}\n"])
async def test_a_browser_left_over_from_an_earlier_run_is_ended(tmp_path: Path, number: str) -> None:
    async with sleeper("--user-data-dir", str(tmp_path / "run-1" / "profile-1")) as pid:
        profile = profile_of(tmp_path, number.format(pid=pid))
        async with open_run_folder(tmp_path):
            await until(lambda: not group_members(pid))
            assert not profile.exists()


async def test_children_left_over_without_their_browser_are_ended(tmp_path: Path) -> None:
    script = "sh -c 'sleep 60; :' --type=renderer & echo $$"
    child = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True)  # noqa: ASYNC220
    with child:
        pass  # gone, and its child lives
    try:
        await until(lambda: len(group_members(child.pid)) == 2)
        profile_of(tmp_path, str(child.pid))
        async with open_run_folder(tmp_path):
            await until(lambda: not group_members(child.pid))
    finally:
        if group_members(child.pid):
            os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", ["{pid}", "", "x", "-1", "0", "99999999"])
async def test_nobody_elses_processes_are_ended(tmp_path: Path, number: str) -> None:
    """Process ids are reused: a process with a browser's id need not be the browser."""
    async with sleeper("--user-data-dir", "/elsewhere") as pid:
        profile = profile_of(tmp_path, number.format(pid=pid))
        async with open_run_folder(tmp_path):
            await trio.sleep(0.05)
            assert len(group_members(pid)) == 2
            assert not profile.exists()
