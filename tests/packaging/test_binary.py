"""dist/reportd, as somebody has it who was given this one file: `make test-binary` builds it first."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import reportd
from tests.servers.ports import free_port

pytestmark = [pytest.mark.packaged, pytest.mark.browser]

ROOT = Path(__file__).parents[2]
BINARY = ROOT / "dist" / "reportd"
SAMPLE = ROOT / "web" / "reportd_web" / "reports" / "sales_summary.sample.json"


class Place:
    """An empty folder to be in, an empty home, and next to nothing in the environment."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder / "empty"
        self.home.mkdir()
        self.folder.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "REPORTD_HTTP__BIND": f"127.0.0.1:{self.port}",
        }

    def run(self, *arguments: str) -> str:
        command = [str(BINARY), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, check=True, capture_output=True, text=True, timeout=120
        )
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[str]"]:
        child = subprocess.Popen(
            [str(BINARY), "serve"],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self._wait_ready(child)
            yield child
        finally:
            child.kill()
            child.communicate(timeout=60)

    def _wait_ready(self, child: "subprocess.Popen[str]") -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert child.poll() is None, child.communicate()[1]
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        pytest.fail("it was not ready within a minute")

    def processes(self) -> list[str]:
        """Command lines of what runs from this home, or keeps its data there."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.home) in line:
                    found.append(line)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    assert BINARY.is_file(), "make binary builds it"
    return Place(tmp_path)


def test_it_renders_a_report_from_nowhere_and_stops_at_sigterm(place: Place) -> None:
    output = place.folder / "report.pdf"
    with place.serving() as child:
        place.run("submit", "sales_summary", "--params", f"@{SAMPLE}", "--url", place.url, "-o", str(output))
        assert output.read_bytes().startswith(b"%PDF-")
        assert place.run("breakers", "--url", place.url).split()[:2] == ["TYPE", "STATE"]
        # Its own process, so that whoever started it can stop it.
        assert Path(f"/proc/{child.pid}/exe").resolve().is_relative_to(place.home)
        child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    assert "daemon.stopped" in said
    assert place.processes() == []
    assert sorted(path.name for path in place.home.iterdir()) == [".cache", ".local"]
    assert [path.name for path in place.folder.iterdir()] == ["report.pdf"]


def test_a_daemon_that_is_killed_leaves_no_browser(place: Place) -> None:
    with place.serving() as child:
        assert len(place.processes()) > 1
        child.kill()
        child.wait()
        until = time.monotonic() + 15
        while place.processes() and time.monotonic() < until:
            time.sleep(0.05)
        assert place.processes() == []


def test_it_says_which_version_and_revision_it_is(place: Place) -> None:
    said = place.run("--version")
    assert said == f"reportd {reportd.__version__} ({reportd.revision()})\n"


def test_it_is_small_and_quick(place: Place) -> None:
    assert BINARY.stat().st_size <= 80 * 1024 * 1024
    place.run("--version")
    seconds = []
    for _ in range(5):
        begun = time.monotonic()
        place.run("--version")
        seconds.append(time.monotonic() - begun)
    assert min(seconds) < 1.0
    # Processor time does not depend on what else the machine does; waiting is next to nothing here.
    begun = time.monotonic()
    with place.serving() as child:
        waited = time.monotonic() - begun
        ticks = sum(map(int, Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        used = ticks / os.sysconf("SC_CLK_TCK")
    assert used < 3.0, f"{used:.2f} s of processor time, {waited:.2f} s in all"
    print(f"--version: {min(seconds):.2f} s; ready after {waited:.2f} s, {used:.2f} s of processor time")


def test_only_its_owner_may_have_written_what_it_runs(place: Place) -> None:
    place.run("--version")
    (cache,) = (place.home / ".cache").iterdir()
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o777)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        place.run("--version")
    assert "must be a folder of your own" in refused.value.stderr


def test_without_a_home_it_runs_from_the_temporary_folder(place: Place, tmp_path: Path) -> None:
    del place.environ["HOME"]
    place.environ["TMPDIR"] = str(tmp_path)
    assert place.run("--version").startswith("reportd ")
    assert (tmp_path / f"reportd-cache-{os.getuid()}").is_dir()


def test_it_can_be_asked_for_everything_that_it_has_libraries_for(place: Place) -> None:
    """Each is imported only when it is asked for: that it is there shows in what it says of nobody answering."""
    place.environ |= {
        "REPORTD_DATABASE__URL": f"postgresql://nobody@127.0.0.1:{free_port()}/none",
        "REPORTD_QUEUE__URL": f"http://127.0.0.1:{free_port()}/1/jobs",
        "REPORTD_QUEUE__DEAD_LETTER_URL": f"http://127.0.0.1:{free_port()}/1/dead",
        "REPORTD_ARTIFACTS__URL": "s3://bucket/prefix",
        "REPORTD_ARTIFACTS__ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "eu-central-1",
    }
    done = subprocess.run(
        [str(BINARY), "doctor"],
        cwd=place.folder,
        env=place.environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1].rstrip(":") for line in faults] == ["database", "queue", "artifacts"], done.stdout
    assert "Error" not in done.stdout


def test_it_has_what_it_needs_for_redis(place: Place) -> None:
    place.environ["REPORTD_BREAKER__STORE"] = f"redis://127.0.0.1:{free_port()}/0"
    with place.serving():
        detail = httpx.get(f"{place.url}/readyz", trust_env=False).json()["parts"]["breakers"]["detail"]
    assert "this node's breakers are its own" in detail
