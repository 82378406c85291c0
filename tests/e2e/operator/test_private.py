"""Nobody else reads what the daemon keeps: not its database, nor PDFs, nor the profiles of browsers."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.operator.test_cli import SAMPLE, reportd
from tests.e2e.process import Daemon, finished, open_daemon, submit

pytestmark = pytest.mark.browser

PARAMETERS = {
    "period": {"from": "2025-01-01", "to": "2025-03-31"},
    "rows": [{"product": "Lamp", "quantity": 1, "revenue": 10.0}],
}
MUST_BE_THERE = {"lock", "reportd.db", "reportd.db-wal", "reportd.db-shm", "spool", "browsers", "artifacts", "pgid"}


@pytest.fixture
def careless() -> Iterator[None]:
    """Whoever starts the daemon lets everybody do everything."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def everything_in(folder: Path) -> Iterator[Path]:
    """All files and folders below it. ``os.walk`` passes over a folder that goes away meanwhile; ``rglob`` raises."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))


def exposed(data_dir: Path) -> dict[str, str]:
    """What others may do something with, by its path in the folder."""
    found = {}
    names = set()
    for path in (data_dir, *everything_in(data_dir)):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # a browser removes files all the time
            continue
        names.add(path.name)
        if mode & 0o077 and not stat.S_ISLNK(mode):
            found[str(path.relative_to(data_dir))] = f"{stat.S_IMODE(mode):04o}"
    assert names > MUST_BE_THERE
    return found


async def work(daemon: Daemon) -> None:
    async with daemon.client() as client:
        report = await finished(client, await submit(client, "sales_summary", PARAMETERS))
        assert report["state"] == "succeeded"


@pytest.mark.usefixtures("careless")
async def test_whatever_the_umask(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        await work(daemon)
        assert exposed(daemon.data_dir) == {}
        # What is saved for a user is as the user likes it.
        output = tmp_path / "report.pdf"
        done = await reportd("submit", "sales_summary", "--params", f"@{SAMPLE}", "-o", str(output), url=daemon.url)
        assert done.returncode == 0, done.stderr
        assert output.stat().st_mode & 0o777 == 0o666


@pytest.mark.usefixtures("careless")
async def test_a_folder_that_an_earlier_version_left_open(tmp_path: Path) -> None:
    async with open_daemon(tmp_path) as daemon:
        await work(daemon)
        await daemon.kill()
        for path in daemon.data_dir.iterdir():
            path.chmod(0o755 if path.is_dir() else 0o644)
        daemon.data_dir.chmod(0o755)
        with closing(sqlite3.connect(daemon.data_dir / "reportd.db")) as other:
            other.execute("SELECT 1")
        await daemon.start()
        await work(daemon)
        assert exposed(daemon.data_dir) == {}


@pytest.mark.usefixtures("careless")
async def test_doctor_makes_no_folder_that_others_can_look_into(tmp_path: Path) -> None:
    data_dir = tmp_path / "state" / "reportd"
    await reportd("doctor", REPORTD_DATA_DIR=str(data_dir))
    assert [path.stat().st_mode & 0o777 for path in (data_dir, data_dir.parent)] == [0o700, 0o700]
