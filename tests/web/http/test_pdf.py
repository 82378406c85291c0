"""The PDF: whole, in ranges, unchanged, on S3, not finished, and deleted."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from werkzeug.http import parse_options_header

from reportd.adapters.artifacts import folder
from reportd.ports import LocalPdf
from reportd_web.http.pdf import CHUNK_BYTES, _File
from reportd_web.http.server import GRACE_SECONDS
from tests.web.running import Running
from tests.web.serving import get, serving

PDF = b"%PDF-1.7 " + bytes(range(256)) * 4
SIZE = len(PDF)


async def finished(running: Running, data: bytes = PDF) -> str:
    task_id = await running.submit()
    await running.succeed(task_id, data)
    return f"/reports/{task_id}/pdf"


async def test_whole(running: Running) -> None:
    url = await finished(running)
    answer = await running.client.get(url)
    assert answer.status_code == 200
    assert answer.content == PDF
    record = await running.record(url.split("/")[2])
    assert record.pdf is not None
    assert answer.headers["etag"] == f'"{record.pdf.sha256}"'
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(SIZE)
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "private, no-cache"
    today = datetime.fromtimestamp(record.job.submitted_at, UTC).date()
    assert answer.headers["content-disposition"] == f'inline; filename="sales_summary-{today}.pdf"'


@pytest.mark.parametrize(
    "name", ["2026年第一季度 報告.pdf", 'A "quoted"; name=1, 100%.pdf', "plain.pdf", "🧾" * 146 + ".pdf"]
)
async def test_the_download_has_the_name_of_the_job(running: Running, name: str) -> None:
    task_id = await running.submit(fileName=name)
    await running.succeed(task_id)
    answer = await running.client.get(f"/reports/{task_id}/pdf")
    assert answer.status_code == 200
    disposition, parameters = parse_options_header(answer.headers["content-disposition"])
    assert (disposition, parameters["filename"]) == ("inline", name)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
async def test_any_size(running: Running, size: int) -> None:
    data = os.urandom(size)
    answer = await running.client.get(await finished(running, data))
    assert (answer.status_code, answer.content) == (200, data)


async def test_head_is_get_without_the_body(running: Running) -> None:
    url = await finished(running)
    got, head = await running.client.get(url), await running.client.head(url, headers={"Range": "bytes=0-1"})
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers == got.headers


# Ranges

RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=0-8": (0, 9),
    "bytes=9-": (9, SIZE),
    "bytes=-7": (SIZE - 7, SIZE),
    f"bytes=-{SIZE + 1}": (0, SIZE),
    f"bytes=5-{SIZE}": (5, SIZE),
    f"bytes=5-{10**17}": (5, SIZE),
    f"bytes={SIZE - 1}-": (SIZE - 1, SIZE),
    "BYTES = 3-4 ": (3, 5),
}


@pytest.mark.parametrize(("wanted", "expected"), RANGES.items())
async def test_range(running: Running, wanted: str, expected: tuple[int, int]) -> None:
    start, end = expected
    answer = await running.client.get(await finished(running), headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == PDF[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["content-length"] == str(end - start)


NO_RANGES = {
    "nothing": "",
    "no bounds": "bytes=-",
    "empty": "bytes=",
    "backwards": "bytes=2-1",
    "letters": "bytes=a-b",
    "hexadecimal": "bytes=0x1-2",
    "two": "bytes=0-1,3-4",
    "another unit": "items=0-1",
    "no unit": "0-1",
    "no equals sign": "bytes 0-1",
    "other digits": "bytes=\u0661-",
    "long": f"bytes={'1' * 5000}-",
}


@pytest.mark.parametrize("wanted", NO_RANGES.values(), ids=NO_RANGES.keys())
async def test_what_is_no_single_range_gets_the_whole(running: Running, wanted: str) -> None:
    answer = await running.client.get(await finished(running), headers=[(b"Range", wanted.encode())])
    assert (answer.status_code, answer.content) == (200, PDF)


@pytest.mark.parametrize("wanted", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 5}", "bytes=-0", f"bytes={10**17}-"])
async def test_range_beyond_the_end_is_416(running: Running, wanted: str) -> None:
    answer = await running.client.get(await finished(running), headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{SIZE}"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == "/Range"


async def test_range_of_another_version_gets_the_whole(running: Running) -> None:
    url = await finished(running)
    etag = (await running.client.head(url)).headers["etag"]
    headers = {"Range": "bytes=0-0", "If-Range": etag}
    assert (await running.client.get(url, headers=headers)).status_code == 206
    for other in ('"other"', f"W/{etag}", "Tue, 24 Nov 2026 00:00:00 GMT"):
        assert (await running.client.get(url, headers={**headers, "If-Range": other})).status_code == 200


# Unchanged


async def test_client_that_has_it_is_told_so(running: Running) -> None:
    url = await finished(running)
    etag = (await running.client.head(url)).headers["etag"]
    for given in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        for method in ("GET", "HEAD"):
            answer = await running.client.request(method, url, headers={"If-None-Match": given})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag
            assert answer.headers["cache-control"] == "private, no-cache"
    for given in ('"other"', etag.strip('"'), ""):
        assert (await running.client.get(url, headers={"If-None-Match": given})).status_code == 200


# Not here


@pytest.mark.parametrize("state", ["queued", "quarantined", "cancelled"])
async def test_report_without_pdf_is_409(running: Running, state: str) -> None:
    task_id = await running.submit()
    if state == "quarantined":
        await running.quarantine(task_id)
    elif state == "cancelled":
        await running.client.delete(f"/reports/{task_id}")
    answer = await running.client.get(f"/reports/{task_id}/pdf")
    assert answer.status_code == 409
    assert answer.json()["detail"] == f"the job is {state}"
    assert answer.headers["cache-control"] == "no-store"


async def test_pdf_past_retention_is_410(running: Running) -> None:
    url = await finished(running)
    task_id = url.split("/")[2]
    await running.artifacts.remove(task_id)
    await running.jobs.purge([task_id])
    answer = await running.client.get(url, headers={"If-None-Match": "*"})
    assert answer.status_code == 410
    assert answer.json()["detail"] == "the PDF is past its retention"
    assert answer.headers["cache-control"] == "no-store"
    assert (await running.client.get(f"/reports/{task_id}")).json()["state"] == "succeeded"


async def test_pdf_that_the_store_has_lost_is_404_and_not_past_its_retention(running: Running) -> None:
    url = await finished(running)
    await running.artifacts.remove(url.split("/")[2])
    answer = await running.client.get(url)
    assert answer.status_code == 404
    assert "artifact store" in answer.json()["detail"]


@pytest.mark.parametrize(("retention_seconds", "status"), [(-1e10, 410), (86400.0, 404)])
async def test_pdf_that_is_removed_while_it_is_asked_for(
    running: Running, monkeypatch: pytest.MonkeyPatch, retention_seconds: float, status: int
) -> None:
    url = await finished(running)
    monkeypatch.setattr(running.service, "_retention_seconds", retention_seconds)

    async def located(_: object) -> LocalPdf:
        return LocalPdf(running.folder / "just removed.pdf", running.artifacts._reading)

    monkeypatch.setattr(running.artifacts, "locate", located)
    assert (await running.client.get(url)).status_code == status


async def test_pdf_that_can_not_be_read_is_503(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    url = await finished(running)

    async def located(_: object) -> LocalPdf:
        return LocalPdf(running.folder, running.artifacts._reading)

    monkeypatch.setattr(running.artifacts, "locate", located)
    answer = await running.client.get(url)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["detail"].startswith("artifacts: ")


@pytest.fixture
async def hanging(running: Running, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a PDF that never opens, as on an unavailable network file system."""
    url = await finished(running)
    located = await running.artifacts.locate((await running.record(url.split("/")[2])).job)
    assert located is not None
    located.path.unlink()
    os.mkfifo(located.path)
    monkeypatch.setattr(Path, "is_file", Path.exists)
    yield url
    # Release the thread that waits for it.
    os.close(os.open(located.path, os.O_RDWR))


async def test_a_pdf_that_never_opens_takes_no_thread_that_others_need_and_is_503(
    running: Running, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    monkeypatch.setattr(folder, "ANSWER_SECONDS", 1.0)
    answers = []

    async def ask() -> None:
        answers.append(await running.client.get(hanging))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)
            while running.artifacts._limiter.borrowed_tokens < folder.MAX_THREADS:
                await trio.sleep(0.01)
            await trio.to_thread.run_sync(int)
            assert not answers
    assert [answer.status_code for answer in answers] == [503] * 40
    assert (await running.client.get("/healthz")).status_code == 200


async def test_a_pdf_that_never_opens_does_not_hold_up_the_end(running: Running, hanging: str) -> None:
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get(hanging))
        while not running.artifacts._limiter.borrowed_tokens:
            await trio.sleep(0.01)
        assert await served.end() < GRACE_SECONDS + 1


def test_a_file_is_closed_by_who_has_it_last(tmp_path: Path) -> None:
    """The descriptor must not be reused while an abandoned thread still reads."""
    path = tmp_path / "a.pdf"
    path.write_bytes(PDF)
    file = _File(path)
    assert file.part(1, 3) == PDF[1:4]
    with file._busy:
        file.end()
        assert not file.closed
    number = file.fileno()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


async def test_pdf_in_another_store_is_a_redirect(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = "https://bucket.example/a.pdf?X-Amz-Signature=abc%2Fdef"

    async def located(_: object) -> str:
        return signed

    url = await finished(running)
    monkeypatch.setattr(running.artifacts, "locate", located)
    for method in ("GET", "HEAD"):
        answer = await running.client.request(method, url)
        assert answer.status_code == 302
        assert answer.headers["location"] == signed
        assert answer.headers["cache-control"] == "no-store"
