"""The folder of PDFs: what only a local folder can get wrong."""

import errno
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import trio

from reportd.adapters.artifacts import folder
from reportd.ports import LocalPdf, UnavailableError
from tests.contract.artifacts.artifacts_lab import ArtifactsLab, folder_lab
from tests.contract.artifacts.test_artifacts import LARGE, in_file, in_memory, stored
from tests.contract.jobs.jobs_lab import a_job


@pytest.fixture
def kept(tmp_path: Path) -> ArtifactsLab:
    return folder_lab(tmp_path / "artifacts")


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As between file systems, and where hard links are forbidden."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)


async def test_a_folder_that_does_not_answer_holds_up_nobody_for_ever(
    kept: ArtifactsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on the network. Others still get threads, for something else."""
    answers = threading.Event()
    monkeypatch.setattr(folder, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(folder, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(folder, "_store", lambda *_: answers.wait(20))
    told: list[str] = []

    async def put() -> None:
        with pytest.raises(UnavailableError) as caught:
            await kept.store.put(a_job(), in_memory(b"%PDF"))
        told.append(str(caught.value))

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(put)
        assert await trio.to_thread.run_sync(lambda: "a thread") == "a thread"
    finally:
        answers.set()
    assert len(told) == 50
    assert all("no answer within 0.1 s" in text for text in told)


@pytest.mark.usefixtures("no_links")
async def test_a_file_on_another_disk_is_copied(kept: ArtifactsLab, tmp_path: Path) -> None:
    job, pdf = a_job(), in_file(LARGE, tmp_path / "rendered.pdf")
    await kept.store.put(job, pdf)
    pdf.discard()
    assert await kept.store.put(job, in_memory(b"%PDF-1.7 again")) == pdf.info
    assert await stored(kept, job.task_id) == LARGE
    assert len(kept.names()) == 1


@pytest.mark.usefixtures("no_links")
async def test_a_copy_without_room_leaves_nothing_but_the_original(kept: ArtifactsLab, tmp_path: Path) -> None:
    job, pdf = a_job(), in_file(LARGE, tmp_path / "rendered.pdf")
    with kept.full(), pytest.raises(UnavailableError):
        await kept.store.put(job, pdf)
    assert kept.names() == []
    assert (tmp_path / "rendered.pdf").read_bytes() == LARGE


@pytest.mark.parametrize("source", ["memory", "file"])
async def test_nobody_else_can_read_a_report(kept: ArtifactsLab, tmp_path: Path, source: str) -> None:
    job = a_job()
    rendered = tmp_path / "rendered.pdf"
    rendered.touch(0o600)
    await kept.store.put(job, in_memory(LARGE) if source == "memory" else in_file(LARGE, rendered))
    where = await kept.store.locate(job)
    assert isinstance(where, LocalPdf)
    assert where.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("use", ["put", "remove"])
async def test_a_folder_that_is_none_is_unavailable(tmp_path: Path, use: str) -> None:
    (tmp_path / "artifacts").write_text("a file")
    kept, job = folder_lab(tmp_path / "artifacts"), a_job()
    with pytest.raises(UnavailableError) as refused:
        await (kept.store.put(job, in_memory(LARGE)) if use == "put" else kept.store.remove(job.task_id))
    assert str(tmp_path / "artifacts") in str(refused.value)


_KILLED_IN_THE_MIDDLE = """
import os, signal, sys, trio
from pathlib import Path
from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.core.jobs.job import Job
from reportd.ports import Pdf
job = Job(sys.argv[2], "sales", {}, sys.argv[2], 0.0)
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
(Path(sys.argv[1]) / job.task_id[:2]).mkdir(parents=True)
trio.run(FileArtifacts(Path(sys.argv[1])).put, job, Pdf(1000, "", data=b"x" * 1000))
"""


@pytest.mark.parametrize("then", ["put", "remove"])
async def test_what_a_killed_daemon_left_goes_with_the_next_delivery(tmp_path: Path, then: str) -> None:
    kept, job = folder_lab(tmp_path / "artifacts"), a_job()
    command = [sys.executable, "-c", _KILLED_IN_THE_MIDDLE, str(tmp_path / "artifacts"), job.task_id]
    assert (await trio.run_process(command, check=False)).returncode == -signal.SIGKILL
    assert len(kept.names()) == 1
    assert await kept.store.locate(job) is None
    if then == "put":
        await kept.store.put(job, in_memory(LARGE))
        assert await stored(kept, job.task_id) == LARGE
    else:
        await kept.store.remove(job.task_id)
    assert len(kept.names()) == int(then == "put")


async def test_a_stored_pdf_and_its_folders_are_on_the_disk(
    kept: ArtifactsLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it gets its name, then every folder that got a new entry."""
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    job = a_job()
    await kept.store.put(job, in_memory(LARGE))
    folder = tmp_path / "artifacts"
    assert synced[:2] == [str(tmp_path), str(folder)]
    assert synced[2].endswith(".part")
    assert synced[3:] == [str(folder / job.task_id[:2])]
