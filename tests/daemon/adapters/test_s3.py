"""PDFs in an S3 bucket, on a local server that speaks the protocol."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import trio
from werkzeug.http import parse_options_header

from reportd.adapters.artifacts.s3 import S3Artifacts, open_s3_artifacts
from reportd.adapters.artifacts.s3_parameters import PART_BYTES
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import JobOptions
from reportd.ports import Pdf, UnavailableError
from tests.servers.authority import Authority, open_secure_site
from tests.servers.aws import ask_s3, new_bucket, pretend_credentials, running_moto
from tests.servers.site import Reply

JOB = Job("0a1b2c3d-0000-4000-8000-000000000001", "sales_summary", {}, "user", 1_780_000_000.0)
KEY = f"0a/{JOB.task_id}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)


@pytest.fixture
def bucket(server: str) -> str:
    return new_bucket(server)


@asynccontextmanager
async def opened(
    server: str, bucket: str, *, prefix: str = "reports", encryption: str = "", presign_seconds: float = 900
) -> AsyncIterator[S3Artifacts]:
    async with open_s3_artifacts(
        bucket, prefix, presign_seconds=presign_seconds, endpoint_url=server, encryption=encryption
    ) as store:
        yield store


def pdf(content: bytes, path: Path | None = None) -> Pdf:
    if path is not None:
        path.write_bytes(content)
    return Pdf(len(content), hashlib.sha256(content).hexdigest(), None if path else content, path)


@pytest.mark.parametrize("in_file", [False, True], ids=["data", "file"])
@pytest.mark.parametrize("size", [5, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 77])
async def test_a_pdf_of_any_size_is_stored_as_it_is(
    server: str, bucket: str, tmp_path: Path, size: int, *, in_file: bool
) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with opened(server, bucket) as store:
        await store.put(JOB, pdf(content, tmp_path / "a.pdf" if in_file else None))
        requests = dict(store.requests)
    stored = ask_s3(server, "GET", f"{bucket}/reports/{KEY}.pdf")
    assert stored.content == content
    parts = -(-size // PART_BYTES)
    assert requests == (
        {"PutObject": 1}
        if parts == 1
        else {"CreateMultipartUpload": 1, "UploadPart": parts, "CompleteMultipartUpload": 1}
    )


@pytest.mark.parametrize("size", [5, PART_BYTES + 1])
async def test_a_pdf_says_what_it_is(server: str, bucket: str, size: int) -> None:
    async with opened(server, bucket, encryption="AES256") as store:
        await store.put(JOB, pdf(b"x" * size))
    headers = ask_s3(server, "HEAD", f"{bucket}/reports/{KEY}.pdf").headers
    assert headers["content-type"] == "application/pdf"
    assert headers["content-disposition"] == 'inline; filename="sales_summary-2026-05-28.pdf"'
    assert headers["x-amz-meta-taskid"] == JOB.task_id
    assert headers["x-amz-meta-reporttype"] == "sales_summary"
    assert headers["x-amz-server-side-encryption"] == "AES256"


async def test_a_kms_key_is_used(server: str, bucket: str) -> None:
    async with opened(server, bucket, encryption="arn:aws:kms:eu-central-1:1:key/k") as store:
        await store.put(JOB, pdf(b"x"))
    headers = ask_s3(server, "HEAD", f"{bucket}/reports/{KEY}.pdf").headers
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:aws:kms:eu-central-1:1:key/k"


async def test_without_a_prefix_keys_begin_with_the_folder(server: str, bucket: str) -> None:
    async with opened(server, bucket, prefix="") as store:
        await store.put(JOB, pdf(b"x"))
    assert ask_s3(server, "GET", f"{bucket}/{KEY}.pdf").content == b"x"


async def test_a_redelivery_leaves_the_first_pdf_alone(server: str, bucket: str) -> None:
    async with opened(server, bucket) as store:
        await store.put(JOB, pdf(b"one"))
        await store.put(JOB, pdf(b"two"))
    listing = ask_s3(server, "GET", bucket).text
    assert listing.count("<Key>") == 1
    assert ask_s3(server, "GET", f"{bucket}/reports/{KEY}.pdf").content == b"one"


async def test_a_pdf_is_fetched_through_a_url_that_ends(server: str, bucket: str) -> None:
    async with opened(server, bucket, presign_seconds=77) as store:
        await store.put(JOB, pdf(b"%PDF"))
        where = await store.locate(JOB)
    assert isinstance(where, str)
    assert parse_qs(urlsplit(where).query)["X-Amz-Expires"] == ["77"]
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(where)
    assert answer.content == b"%PDF"
    assert answer.headers["content-type"] == "application/pdf"


async def test_a_url_carries_the_name_of_the_download(server: str, bucket: str) -> None:
    """Also where the object was stored under another one."""
    named = replace(JOB, options=JobOptions(timezone="Asia/Tokyo", file_name="2026年 報告 100%.pdf"))
    async with opened(server, bucket) as store, httpx.AsyncClient(trust_env=False) as client:
        await store.put(JOB, pdf(b"%PDF"))
        for job, name in ((named, "2026年 報告 100%.pdf"), (JOB, "sales_summary-2026-05-28.pdf")):
            answer = await client.get(str(await store.locate(job)))
            assert answer.content == b"%PDF"
            assert parse_options_header(answer.headers["content-disposition"]) == ("inline", {"filename": name})


async def test_no_pdf_has_no_url(server: str, bucket: str) -> None:
    async with opened(server, bucket) as store:
        assert await store.locate(JOB) is None


async def test_removing_is_for_good_and_may_be_done_twice(server: str, bucket: str) -> None:
    async with opened(server, bucket) as store:
        await store.put(JOB, pdf(b"x"))
        await store.remove(JOB.task_id)
        assert await store.locate(JOB) is None
        await store.remove(JOB.task_id)


async def test_a_store_that_works_has_no_problems_and_is_left_empty(server: str, bucket: str) -> None:
    async with opened(server, bucket) as store:
        assert await store.check() == []
    assert "<Key>" not in ask_s3(server, "GET", bucket).text


async def test_a_cancelled_upload_is_given_up(server: str, bucket: str) -> None:
    async with opened(server, bucket) as store:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store.put, JOB, pdf(b"x" * (3 * PART_BYTES)))
                while store.requests["UploadPart"] == 0:
                    await trio.sleep(0.01)
                scope.cancel()
        assert store.requests["AbortMultipartUpload"] == 1
        assert await store.locate(JOB) is None
    assert "<Upload>" not in ask_s3(server, "GET", f"{bucket}?uploads").text


async def test_a_server_whose_authority_is_the_operators_own_is_trusted_only_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = Authority(tmp_path, "Ours"), Authority(tmp_path, "Others")

    async def look(server: str, ca_file: Path | None) -> None:
        async with open_s3_artifacts("bucket", presign_seconds=900, endpoint_url=server, ca_file=ca_file) as store:
            await store.locate(JOB)

    async with open_secure_site(ours.server(), {f"/bucket/{KEY}.pdf": Reply("%PDF-")}) as server:
        for ca_file in (None, others.file):
            with pytest.raises(UnavailableError, match=r"the TLS certificate of 127\.0\.0\.1 is not trusted"):
                await look(server, ca_file)
        await look(server, ours.file)
        # What the AWS configuration trusts stays trusted.
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ours.file))
        await look(server, others.file)
