"""A browser in a container: what it sees of the machine, its limits, and that it prints like any other.

A program in the browser's place reports what it sees. What a page may reach is tested in test_network, and how browsers
end in test_process, both with and without containers.
"""

import json
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import trio
from pypdf import PdfReader

from reportd.adapters.chromium import ChromiumSettings, browser, launcher, open_launcher
from reportd.adapters.chromium.browser import ChromiumBrowser
from reportd.adapters.chromium.process import limits
from reportd.adapters.chromium.process.container import Container, _create_inside
from reportd.adapters.chromium.process.limits import Limits, confine
from reportd.adapters.chromium.process.proc import group_members
from reportd.adapters.chromium.process.process import BrowserProcess
from reportd.core.faults import FaultKind
from reportd.ports import Browser, BrowserError, Launcher, Pdf
from tests.servers.chromium import fault_of, request, text_of
from tests.servers.site import open_site

pytestmark = pytest.mark.browser

METADATA = ("169.254.169.254", 80)

LOOK = """#!/usr/bin/python3 -IS
import json, os, socket, sys

asked = json.loads('''ASKED''')

def fails(act, *arguments):
    try:
        act(*arguments)
    except OSError as error:
        return type(error).__name__ + ": " + str(error.strerror)
    return ""

def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        return file.read(1)

def write(folder):
    with open(os.path.join(folder, "written"), "w") as file:
        file.write("x")

def connect(kind, address):
    with socket.socket(kind) as made:
        made.settimeout(2)
        made.connect(address)

def fill():
    with open(os.environ["HOME"] + "/large", "wb") as file:
        for _ in range(64):
            file.write(bytes(2**20))

ids = [name for name in os.listdir("/proc") if name.isdigit()]
found = {
    "uid": os.getuid(),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapPrm", "CapEff"))],
    "processes": [open(f"/proc/{pid}/cmdline").read().split(chr(0))[0] for pid in ids],
    "signals": fails(os.kill, asked["daemon"], 0),
    "environment": sorted(name for pid in ids for name in open(f"/proc/{pid}/environ").read().split(chr(0)) if name),
    "descriptors": sorted(fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "read": {path: fails(read, path) for path in asked["paths"]},
    "folders": {folder: sorted(os.listdir(folder)) for folder in ("/", "/etc", asked["data_dir"])},
    "written": [folder for folder, _, _ in os.walk("/") if not folder.startswith("/proc") and not fails(write, folder)],
    "home": os.environ["HOME"],
    "filled": fails(fill),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "reached": {f"{host}:{port}": fails(connect, socket.AF_INET, (host, port)) for host, port in asked["hosts"]},
    "unix": [fails(connect, socket.AF_UNIX, chr(0) + asked["abstract"]), fails(connect, socket.AF_UNIX, asked["unix"])],
    "name": fails(socket.getaddrinfo, "example.com", 80),
    "limit": [line.split()[2:4] for line in open("/proc/self/limits") if line.startswith("Max processes")],
}
children = []
try:
    while len(children) < asked["children"]:
        child = os.fork()
        if not child:
            import time
            time.sleep(60)
        children.append(child)
except OSError:
    pass
found["children"] = len(children)
print(json.dumps(found), file=sys.stderr, flush=True)
"""


@asynccontextmanager
async def launching(data_dir: Path, **settings: Any) -> AsyncIterator[Launcher]:
    with trio.fail_after(25):
        async with open_launcher(ChromiumSettings(**settings), data_dir, lambda _address, _port: False) as opened:
            yield opened


def write_look(look: Path, data_dir: Path, **asked: Any) -> None:
    look.parent.mkdir(exist_ok=True)
    wanted = {"daemon": os.getpid(), "paths": [], "hosts": [], "abstract": "x", "unix": "/x", "children": 0} | asked
    look.write_text(LOOK.replace("ASKED", json.dumps(wanted | {"data_dir": str(data_dir)})))
    look.chmod(0o755)


async def look_around(data_dir: Path, programs: Path, **asked: Any) -> dict[str, Any]:
    """What a program sees that is started in the browser's place."""
    look = programs / "look"
    write_look(look, data_dir, **asked)
    async with launching(data_dir, executable=str(look), renderer_limit_mib=32.0) as opened:
        with pytest.raises(BrowserError) as caught:
            async with opened.launch(container=True):
                pass
    found: dict[str, Any] = json.loads(str(caught.value).partition("it said: ")[2])
    return found


def container_of(running: Browser) -> Container:
    assert isinstance(running, ChromiumBrowser)
    container = running._process.container
    assert container is not None
    return container


# --- what is seen of the machine ----------------------------------------------------------------------------


async def test_no_process_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPORTD_SECRET", "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    found = await look_around(tmp_path / "data", tmp_path / "programs")
    assert sorted(found["processes"]) == ["/usr/bin/python3", "bwrap"]
    assert found["signals"].startswith("ProcessLookupError")
    assert "LC_ALL=C.UTF-8" in found["environment"]
    assert "SECRET" not in str(found["environment"])
    # Its own three, and the folder that it lists.
    assert found["descriptors"] == ["0", "1", "2", "3", "4"]  # the last two are its DevTools pipe
    assert found["uid"] == pwd.getpwnam("nobody").pw_uid
    assert set(found["capabilities"]) == {"0" * 16}


ETC = {"alternatives", "chromium", "chromium.d", "fonts", "ld.so.cache", "localtime"}
ROOT = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "usr", "var"}


def write_secrets(data_dir: Path, *more: Path) -> list[str]:
    files = [data_dir / "reportd.db", data_dir / "spool" / "x.pdf", data_dir / "artifacts" / "x.pdf", *more]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("secret")
    return [str(file) for file in files]


async def test_no_file_of_the_daemon(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    paths = write_secrets(data_dir, tmp_path / "reportd.toml")
    paths += [__file__, sys.executable, str(Path(limits.__file__)), f"/proc/{os.getpid()}/environ"]
    paths += ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/root", "/home", "/var/lib", "/run", "/sys", "/dev/sda"]
    found = await look_around(data_dir, tmp_path / "programs", paths=paths)
    # Not even that there is one.
    troubles = {path: trouble.partition(":")[0] for path, trouble in found["read"].items()}
    assert troubles == dict.fromkeys(paths, "FileNotFoundError")
    assert found["folders"][str(data_dir)] == ["browsers"]  # and in it its own folder
    assert set(found["folders"]["/"]) <= ROOT | {tmp_path.parts[1]}
    assert set(found["folders"]["/etc"]) <= ETC


async def test_no_file_of_the_daemon_that_lies_beside_the_browser_either(tmp_path: Path) -> None:
    paths = write_secrets(tmp_path / "programs" / "data")
    found = await look_around(tmp_path / "programs" / "data", tmp_path / "programs", paths=paths)
    assert [trouble.partition(":")[0] for trouble in found["read"].values()] == ["FileNotFoundError"] * len(paths)
    assert found["folders"][str(tmp_path / "programs" / "data")] == ["browsers"]


async def test_nothing_can_be_written_but_a_folder_that_goes_with_it(tmp_path: Path) -> None:
    found = await look_around(tmp_path / "data", tmp_path / "programs")
    assert found["written"] == [found["home"]]
    assert "No space left" in found["filled"]
    assert list((tmp_path / "data").glob("browsers/run-*")) == []


async def test_no_network_but_its_own(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as unix:
        abstract.bind(f"\0{tmp_path}")
        unix.bind(str(tmp_path / "socket"))
        for listener in (abstract, unix):
            listener.listen()
        async with open_site() as site, open_site(host="127.0.0.2") as other:
            hosts = [("127.0.0.1", site.port), ("127.0.0.2", other.port), METADATA, ("192.0.2.1", 80), ("1.1.1.1", 53)]
            wanted = {"abstract": str(tmp_path), "unix": str(tmp_path / "socket"), "hosts": hosts}
            found = await look_around(tmp_path / "data", tmp_path / "programs", **wanted)
            assert site.connections == other.connections == 0
    loopback = "ConnectionRefusedError: Connection refused"
    assert found["reached"] == {
        f"127.0.0.1:{site.port}": loopback,
        f"127.0.0.2:{other.port}": loopback,
        **{f"{host}:{port}": "OSError: Network is unreachable" for host, port in hosts[2:]},
    }
    assert found["interfaces"] == ["lo"]
    assert found["unix"][0].startswith("ConnectionRefusedError")
    assert found["unix"][1].startswith("FileNotFoundError")
    assert found["name"].startswith("gaierror")


SUCCEEDED, NOT_ALLOWED = 0, 2


async def connect_inside(container: Container, port: int) -> socket.socket:
    """Connect to a port of the container's loopback. Raises OSError."""
    return await trio.to_thread.run_sync(
        _create_inside, container._namespaces, lambda: socket.create_connection(("127.0.0.1", port), 5)
    )


async def ask_egress(container: Container, egress_port: int, host: str, port: int) -> tuple[int, bytes]:
    """SOCKS5 (RFC 1928) from inside: the proxy's reply, and the host's answer to a request."""
    with await connect_inside(container, egress_port) as made:
        made.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=made.detach())))
    async with stream:
        name = host.encode()
        await stream.send_all(b"\5\1\0\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
        answer = b""
        while len(answer) < 12:
            answer += await stream.receive_some(12 - len(answer))
        if answer[3] != SUCCEEDED:
            return answer[3], b""
        await stream.send_all(f"GET /report HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return answer[3], await stream.receive_some(4096)


async def test_its_only_way_out_leads_where_the_job_may_go_while_it_lasts(tmp_path: Path) -> None:
    """A browser that a page has taken over can use its egress in any way."""
    async with (
        open_site({"/report": "<p>report"}) as site,
        open_site() as trap,
        launching(tmp_path) as opened,
        opened.launch(container=True) as running,
        running.page() as page,
        trio.open_nursery() as nursery,
    ):
        container, port = container_of(running), page._egress.port  # type: ignore[attr-defined]
        for outside in (site.port, trap.port):
            with pytest.raises(ConnectionRefusedError):
                (await connect_inside(container, outside)).close()
        assert await ask_egress(container, port, "127.0.0.1", site.port) == (NOT_ALLOWED, b"")
        nursery.start_soon(fault_of, page, request(url=site.url("/report"), delay_seconds=2))
        while not site.asked("/report"):
            await trio.sleep(0.01)
        assert await ask_egress(container, port, "127.0.0.1", trap.port) == (NOT_ALLOWED, b"")
        assert await ask_egress(container, port, METADATA[0], METADATA[1]) == (NOT_ALLOWED, b"")
        assert await ask_egress(container, port, "localhost", site.port) == (NOT_ALLOWED, b"")
        code, said = await ask_egress(container, port, "127.0.0.1", site.port)
        assert code == SUCCEEDED
        assert said.endswith(b"<p>report")
        assert trap.connections == 0
        nursery.cancel_scope.cancel()


async def test_chromiums_own_sandbox_stays_on(tmp_path: Path) -> None:
    async with launching(tmp_path) as opened, opened.launch(container=True) as running, running.page():
        members = [Path(f"/proc/{pid}") for pid in group_members(running.pid) if pid != running.pid]
        lines = {member: (member / "cmdline").read_text() for member in members}
        assert not any("--no-sandbox" in line for line in lines.values())
        renderers = [member for member, line in lines.items() if "--type=renderer" in line]
        assert renderers
        for renderer in renderers:
            assert "\nSeccomp:\t2\n" in (renderer / "status").read_text()
            # One for the container, and one that Chromium makes in there.
            assert len((renderer / "status").read_text().partition("NSpid:")[2].split("\n")[0].split()) >= 3
        outside = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "mnt", "net", "ipc", "uts")}  # noqa: PTH115
        for member in members:
            assert not any((member / "ns" / name).readlink() == Path(link) for name, link in outside.items())


# --- it prints as any other ---------------------------------------------------------------------------------

REPORT = """<meta charset=utf-8>
<style>body { font: 12px Inter } p { font-family: "Noto Sans CJK SC" }</style>
<h1>Quarterly</h1><p>智能台灯 漢字 かな</p><p id=time></p>
<script>time.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone + ' ' + navigator.language</script>
"""


def picture_of(pdf: Pdf) -> bytes:
    done = subprocess.run(["pdftoppm", "-r", "100", "-"], input=pdf.data, capture_output=True, check=True)
    return done.stdout


async def test_a_report_looks_as_it_does_anywhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    texts, pictures = [], []
    async with launching(tmp_path) as opened:
        for container in (False, True):
            async with (
                opened.launch(container=container) as running,
                running.page() as page,
                running.page() as another,
            ):
                pdf = await page.render(request(html=REPORT))
                other = await another.render(request(html=REPORT.replace("智", "\ue000")))
                texts.append(text_of(pdf))
                pictures.append(picture_of(pdf))
                # What no font has looks different.
                assert picture_of(other) != pictures[-1]
    assert texts == ["Quarterly 智能台灯 漢字 かな Asia/Tokyo en-US"] * 2
    assert pictures[0] == pictures[1]


async def test_one_page_after_the_other_and_several_at_once(tmp_path: Path) -> None:
    async with launching(tmp_path) as opened, opened.launch(container=True) as running:
        for number in range(2):
            async with running.page() as page, running.page() as other:
                assert text_of(await page.render(request(html=f"<p>{number}"))) == str(number)
                assert await page.scrub()
                assert text_of(await page.render(request(html="<p>again"))) == "again"
                assert text_of(await other.render(request(html="<p>other"))) == "other"


@pytest.mark.stands_still("pypdf reads a PDF of 100 pages")
async def test_a_large_report(tmp_path: Path) -> None:
    rows = "".join(f"<tr><td>row {n}<td>{'x' * 200}" for n in range(3000))
    async with launching(tmp_path) as opened, opened.launch(container=True) as running, running.page() as page:
        pdf = await page.render(request(html=f"<table>{rows}</table>"))
        assert pdf.data is not None
        (*_, last) = PdfReader(BytesIO(pdf.data)).pages
        assert "2999" in last.extract_text()


# --- what it may use ----------------------------------------------------------------------------------------


async def test_a_container_that_uses_too_much_memory_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(launcher, "BROWSER_MIB", 0)
    # Less than the renderer alone may use, so the whole is over its limit first.
    eat = "const all = []; setInterval(() => all.push(new Uint8Array(20e6).fill(1)), 20)"
    opened = launching(tmp_path, renderer_limit_mib=500.0)
    async with opened as started, started.launch(container=True) as running, running.page() as page:
        fault = await fault_of(page, request(html=f"<script>{eat}</script>", delay_seconds=15))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_TOO_HEAVY
        found = re.fullmatch(
            r"the page's container used (\d+) MiB; pool\.renderer_limit_mib allows its browser 500 MiB in all",
            fault.detail,
        )
        assert found is not None, fault.detail
        assert int(found[1]) > 500
        with trio.fail_after(10):
            await running.died.wait()


@pytest.mark.parametrize("container", [True, False])
async def test_a_browser_that_the_kernel_ends_for_its_memory_is_the_pages_fault_if_it_has_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, container: bool
) -> None:
    monkeypatch.setattr(BrowserProcess, "out_of_memory", lambda _: True)
    async with launching(tmp_path) as opened, opened.launch(container=container) as running, running.page() as page:

        async def end_soon() -> None:
            await trio.sleep(0.3)
            os.kill(running.pid, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_soon)
            fault = await fault_of(page, request(html="<p>slow", delay_seconds=20))
        assert fault is not None
        assert fault.kind is (FaultKind.PAGE_TOO_HEAVY if container else FaultKind.PAGE_CLOSED)


def test_a_control_group_of_its_own_holds_it(tmp_path: Path) -> None:
    (tmp_path / "memory.swap.max").write_text("max")
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            before = resource.prlimit(child.pid, resource.RLIMIT_NPROC)
            confine(child.pid, Limits(memory_mib=1024, profile_mib=512, processes=200), tmp_path)
            assert resource.prlimit(child.pid, resource.RLIMIT_NPROC) == before
        finally:
            child.kill()
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {"memory.max": str(1024 * 2**20), "memory.swap.max": "0", "pids.max": "200"}


# --- as whom the daemon runs, and where it can't be had -----------------------------------------------------

ORDINARY = """
import ctypes
import sys
from io import BytesIO
from pathlib import Path
import structlog
import trio
from pypdf import PdfReader

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
sys.path.insert(0, sys.argv[1])
import tests.daemon.adapters.chromium.test_container as suite

async def main():
    folder = Path(sys.argv[2])
    found = await suite.look_around(folder / "data", folder / "programs", children=600)
    await suite.test_chromiums_own_sandbox_stays_on(folder / "sandboxed")
    await suite.test_its_only_way_out_leads_where_the_job_may_go_while_it_lasts(folder / "out")
    print(suite.json.dumps(found))

ctypes.CDLL(None).prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL: what is started has no capabilities
trio.run(main)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user then")
async def test_all_the_same_as_an_ordinary_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        # The tests' own files may be where only root gets to.
        reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
        as_nobody = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *reads)
        root = Path(__file__).parents[3]
        with trio.fail_after(60):
            done = await trio.run_process(
                [*as_nobody, sys.executable, "-B", "-c", ORDINARY, str(root), folder],
                capture_stdout=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
    found = json.loads(done.stdout)
    assert sorted(found["processes"]) == ["/usr/bin/python3", "bwrap"]
    assert set(found["capabilities"]) == {"0" * 16}
    assert found["written"] == [found["home"]]
    # The kernel exempts root from this one.
    assert found["limit"] == [[str(Limits(0, 0).processes)] * 2]
    assert 400 < found["children"] < Limits(0, 0).processes


async def test_bubblewrap_that_may_not_make_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho bwrap: No permissions to create a new namespace >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BrowserError) as caught:
        async with launching(tmp_path / "data", container=True):
            pass
    error = caught.value
    assert 'isolation = "container" is not possible' in str(error)
    assert "No permissions to create a new namespace" in str(error)
    assert "user.max_user_namespaces" in str(error)


async def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async with launching(tmp_path) as opened:
        counts = []
        for _ in range(3):
            async with opened.launch(container=True) as running, running.page() as page:
                assert await fault_of(page, request(html="<p>x")) is None
            counts.append(descriptors())
        assert counts[1] == counts[2]
        async with opened.launch(container=True) as running:
            os.kill(running.pid, signal.SIGKILL)
            await running.died.wait()
            with pytest.raises(BrowserError):
                async with running.page():
                    pass
        assert descriptors() == counts[2]


async def test_a_container_killed_from_within_is_the_loss_of_its_browser(tmp_path: Path) -> None:
    async with launching(tmp_path) as opened, opened.launch(container=True) as running, running.page() as page:

        async def kill_first() -> None:
            await trio.sleep(0.3)
            os.kill(container_of(running)._child, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_first)
            fault = await fault_of(page, request(html="<p>slow", delay_seconds=20))
        assert fault is not None
        assert fault.kind is FaultKind.PAGE_CLOSED
        with trio.fail_after(3):
            await running.died.wait()
    assert group_members(running.pid) == []
