"""Every artifact store: a PDF is there whole or not at all, under its job's name, until it is removed."""

import hashlib
from pathlib import Path

import pytest
import trio

from reportd.ports import Pdf, PdfInfo, UnavailableError
from tests.contract.artifacts.artifacts_lab import SMALL_BYTES, ArtifactsLab
from tests.contract.jobs.jobs_lab import a_job

LARGE = b"%PDF-1.7 " + b"large" * SMALL_BYTES


def in_memory(content: bytes) -> Pdf:
    return Pdf(len(content), hashlib.sha256(content).hexdigest(), data=content)


def in_file(content: bytes, path: Path) -> Pdf:
    path.write_bytes(content)
    return Pdf(len(content), hashlib.sha256(content).hexdigest(), path=path)


async def stored(lab: ArtifactsLab, task_id: str) -> bytes | None:
    where = await lab.store.locate(a_job(task_id=task_id))
    return None if where is None else await trio.to_thread.run_sync(lab.read, where)


@pytest.mark.parametrize("content", [b"%PDF-1.7 small", LARGE, b""], ids=["small", "large", "empty"])
async def test_a_pdf_in_memory_is_stored(kept: ArtifactsLab, content: bytes) -> None:
    job = a_job()
    await kept.store.put(job, in_memory(content))
    assert await stored(kept, job.task_id) == content
    assert len(kept.names()) == 1


async def test_a_pdf_in_a_file_is_stored_and_its_owner_may_discard_it(kept: ArtifactsLab, tmp_path: Path) -> None:
    job, pdf = a_job(), in_file(LARGE, tmp_path / "rendered.pdf")
    await kept.store.put(job, pdf)
    pdf.discard()
    assert await stored(kept, job.task_id) == LARGE
    assert len(kept.names()) == 1


async def test_the_same_pdf_may_be_put_again(kept: ArtifactsLab, tmp_path: Path) -> None:
    """A try whose answer was lost is repeated (I6)."""
    job, pdf = a_job(), in_file(LARGE, tmp_path / "rendered.pdf")
    await kept.store.put(job, pdf)
    await kept.store.put(job, pdf)
    pdf.discard()
    assert await stored(kept, job.task_id) == LARGE
    assert len(kept.names()) == 1


@pytest.mark.parametrize("again", [b"%PDF-1.7 again", LARGE + LARGE], ids=["small", "large"])
async def test_a_redelivery_makes_no_second_pdf_and_is_told_about_the_first(kept: ArtifactsLab, again: bytes) -> None:
    job, first = a_job(), in_memory(LARGE)
    assert await kept.store.put(job, first) == first.info
    assert await kept.store.put(job, in_memory(again)) == first.info
    assert await stored(kept, job.task_id) == LARGE
    assert len(kept.names()) == 1
    await kept.store.remove(job.task_id)
    assert await kept.store.put(job, in_memory(again)) == in_memory(again).info
    assert await stored(kept, job.task_id) == again


async def test_many_who_put_one_job_leave_one_whole_pdf(kept: ArtifactsLab) -> None:
    job = a_job()
    contents = [bytes([number]) * 300_000 for number in range(8)]

    async def put(content: bytes) -> PdfInfo:
        # One may take what another is writing for a leftover; it is told so, and tries again.
        while True:
            try:
                return await kept.store.put(job, in_memory(content))
            except UnavailableError:
                continue

    told: list[PdfInfo] = []

    async def note(content: bytes) -> None:
        told.append(await put(content))

    async with trio.open_nursery() as nursery:
        for content in contents:
            nursery.start_soon(note, content)
    left = await stored(kept, job.task_id)
    assert left in contents
    assert set(told) == {in_memory(left).info}
    assert len(kept.names()) == 1


async def test_jobs_are_kept_apart(kept: ArtifactsLab) -> None:
    jobs = [a_job(task_id=f"aaaaaaaa-0000-4000-8000-00000000000{number}") for number in range(5)]
    for number, job in enumerate(jobs):
        await kept.store.put(job, in_memory(b"%d" % number))
    await kept.store.remove(jobs[2].task_id)
    assert [await stored(kept, job.task_id) for job in jobs] == [b"0", b"1", None, b"3", b"4"]


async def test_what_was_never_stored_is_nowhere(kept: ArtifactsLab) -> None:
    assert await kept.store.locate(a_job()) is None


async def test_removing_is_final_and_may_be_repeated(kept: ArtifactsLab) -> None:
    job = a_job()
    await kept.store.remove(job.task_id)
    await kept.store.put(job, in_memory(LARGE))
    await kept.store.remove(job.task_id)
    await kept.store.remove(job.task_id)
    assert await stored(kept, job.task_id) is None
    assert kept.names() == []


async def test_a_full_store_is_unavailable_and_keeps_nothing_of_it(kept: ArtifactsLab) -> None:
    job = a_job()
    with kept.full():
        with pytest.raises(UnavailableError) as refused:
            await kept.store.put(job, in_memory(LARGE))
        assert refused.value.part == "artifacts"
        assert await stored(kept, job.task_id) is None
        assert kept.names() == []
        await kept.store.put(a_job(), in_memory(b"small"))
    await kept.store.put(job, in_memory(LARGE))
    assert await stored(kept, job.task_id) == LARGE


async def test_a_full_store_keeps_the_pdf_it_had(kept: ArtifactsLab) -> None:
    job = a_job()
    await kept.store.put(job, in_memory(b"%PDF-1.7 first"))
    with kept.full(), pytest.raises(UnavailableError):
        await kept.store.put(job, in_memory(LARGE))
    assert await stored(kept, job.task_id) == b"%PDF-1.7 first"
    assert len(kept.names()) == 1


async def test_a_store_is_marked_once(kept: ArtifactsLab) -> None:
    """Of two nodes that start at the same time, both hear the same."""
    assert await kept.store.identity() is None
    heard: list[str] = []

    limiter = trio.CapacityLimiter(3 if kept.atomic else 1)

    async def mark(identity: str) -> None:
        async with limiter:
            heard.append(await kept.store.mark(identity))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(mark, f"mark-{number}")
    assert len(set(heard)) == 1
    assert await kept.store.identity() == heard[0]
    assert await kept.store.mark("another") == heard[0]


async def test_a_probe_leaves_nothing_behind(kept: ArtifactsLab) -> None:
    await kept.store.probe()
    assert kept.names() == []
