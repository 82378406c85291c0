"""Faults of S3 and of the network to it, and what callers of the store see."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog

from reportd.adapters.artifacts.s3 import S3Artifacts, open_s3_artifacts
from reportd.adapters.artifacts.s3_parameters import PART_BYTES
from reportd.adapters.aws import client
from reportd.core.jobs.job import Job
from reportd.ports import Pdf, UnavailableError
from tests.servers.aws import ask_s3, new_bucket, pretend_credentials, running_moto
from tests.servers.faulty_proxy import (
    Fault,
    Proxy,
    answer,
    break_upload,
    drop_after,
    drop_before,
    hang,
    open_proxy,
    respond,
    without_conditions,
)

JOB = Job("0a1b2c3d-0000-4000-8000-000000000001", "sales_summary", {}, "user", 1_780_000_000.0)
PATH = f"0a/{JOB.task_id}.pdf"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    monkeypatch.setattr(client, "_ANSWER_SECONDS", {"sqs": 1.0, "s3": 1.0})
    # The library waits up to a second before its other attempt.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


@pytest.fixture
async def proxy(server: str) -> AsyncIterator[Proxy]:
    async with open_proxy(server) as proxy:
        yield proxy


@pytest.fixture
def bucket(server: str) -> str:
    return new_bucket(server)


@asynccontextmanager
async def opened(proxy: Proxy, bucket: str) -> AsyncIterator[S3Artifacts]:
    async with open_s3_artifacts(bucket, presign_seconds=900, endpoint_url=proxy.url) as store:
        yield store


def pdf(size: int) -> Pdf:
    content = b"x" * size
    return Pdf(size, hashlib.sha256(content).hexdigest(), content)


SLOW_DOWN = answer(503, "SlowDown", "Please reduce your request rate.")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answer(500, "InternalError"), "InternalError"),
        (SLOW_DOWN, "throttling"),
        (drop_before, "broke"),
        (break_upload, "broke"),
        (hang, "did not answer in time"),
    ],
    ids=["500", "slow-down", "dropped", "half-way", "time-out"],
)
async def test_trouble_that_lasts_is_told_and_trouble_that_passes_is_not(
    server: str, proxy: Proxy, bucket: str, fault: Fault, words: str
) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("PutObject", fault, fault)
        with pytest.raises(UnavailableError, match=words) as caught:
            await store.put(JOB, pdf(100_000))
        assert caught.value.part == "artifacts"
        assert ask_s3(server, "GET", f"{bucket}/{PATH}").status_code == 404
        proxy.plan("PutObject", fault)
        await store.put(JOB, pdf(100_000))
    assert len(ask_s3(server, "GET", f"{bucket}/{PATH}").content) == 100_000


async def test_a_put_whose_answer_is_lost_is_made_again(server: str, proxy: Proxy, bucket: str) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("PutObject", drop_after)
        assert await store.put(JOB, pdf(5)) == pdf(5).info
        await store.remove(JOB.task_id)
        proxy.plan("CompleteMultipartUpload", drop_after)
        assert await store.put(JOB, pdf(PART_BYTES + 1)) == pdf(PART_BYTES + 1).info
    assert len(ask_s3(server, "GET", f"{bucket}/{PATH}").content) == PART_BYTES + 1


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_an_upload_that_fails_is_given_up_and_shows_nothing(
    server: str, proxy: Proxy, bucket: str, operation: str
) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan(operation, drop_before, drop_before)
        with pytest.raises(UnavailableError):
            await store.put(JOB, pdf(2 * PART_BYTES + 1))
    assert ask_s3(server, "GET", f"{bucket}/{PATH}").status_code == 404
    assert "<Upload>" not in ask_s3(server, "GET", f"{bucket}?uploads").text


async def test_an_upload_that_can_not_even_be_given_up_tells_of_the_first_trouble(proxy: Proxy, bucket: str) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("UploadPart", *[SLOW_DOWN] * 2)
        proxy.plan("AbortMultipartUpload", *[answer(500, "InternalError")] * 2)
        with pytest.raises(UnavailableError, match="throttling"):
            await store.put(JOB, pdf(PART_BYTES + 1))


CALLS: dict[str, Callable[[S3Artifacts], Awaitable[object]]] = {
    "put": lambda store: store.put(JOB, pdf(5)),
    "put-large": lambda store: store.put(JOB, pdf(PART_BYTES + 1)),
    "locate": lambda store: store.locate(JOB),
    "remove": lambda store: store.remove(JOB.task_id),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_missing_bucket_is_told(proxy: Proxy, call: str) -> None:
    async with opened(proxy, "no-such-bucket") as store:
        with pytest.raises(UnavailableError, match=r"s3://no-such-bucket: .*reportd provision"):
            await CALLS[call](store)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "IAM policy"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "set-ntp"),
        (400, "ExpiredToken", "expired"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (400, "KMS.DisabledException", "KMS"),
    ],
)
async def test_a_refusal_says_what_to_do(proxy: Proxy, bucket: str, status: int, code: str, words: str) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("PutObject", *[answer(status, code)] * 3)
        with pytest.raises(UnavailableError, match=words):
            await store.put(JOB, pdf(5))
        assert await store.check()


async def test_a_denied_look_is_not_taken_for_absence(proxy: Proxy, bucket: str) -> None:
    """An answer to HEAD has no body, so there is only the status."""
    async with opened(proxy, bucket) as store:
        proxy.plan("HeadObject", answer(403, ""))
        with pytest.raises(UnavailableError, match="IAM policy"):
            await store.locate(JOB)


async def test_a_pdf_that_is_removed_while_it_is_asked_about_is_stored_with_the_next_try(
    proxy: Proxy, bucket: str
) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("PutObject", answer(412, "PreconditionFailed"))
        with pytest.raises(UnavailableError, match="removed"):
            await store.put(JOB, pdf(5))
        assert await store.put(JOB, pdf(5)) == pdf(5).info


@pytest.mark.parametrize(
    ("greeting", "words"), [(b"<p>Welcome<br>to our network", "500"), (b"<p>Welcome</p>", "check endpoint_url")]
)
async def test_an_answer_of_something_else_is_trouble(proxy: Proxy, bucket: str, greeting: bytes, words: str) -> None:
    async with opened(proxy, bucket) as store:
        proxy.plan("CreateMultipartUpload", *[respond(greeting)] * 2)
        with pytest.raises(UnavailableError, match=words):
            await store.put(JOB, pdf(PART_BYTES + 1))


@pytest.mark.parametrize("size_bytes", [3, PART_BYTES + 1])
async def test_a_server_that_takes_no_condition_is_asked_before_what_it_has(
    server: str, proxy: Proxy, bucket: str, size_bytes: int
) -> None:
    """The first PDF stays all the same, and the warning is logged once."""
    proxy.plan("PutObject", *[without_conditions()] * 20)
    proxy.plan("CompleteMultipartUpload", *[without_conditions()] * 20)
    first, second = (made(letter * size_bytes) for letter in (b"a", b"b"))
    with structlog.testing.capture_logs() as logs:
        async with opened(proxy, bucket) as store:
            assert await store.put(JOB, first) == first.info
            assert await store.put(JOB, second) == first.info
            assert await store.check() == []
    assert [entry["event"] for entry in logs] == ["artifacts.condition_refused"]
    assert "<Upload>" not in ask_s3(server, "GET", f"{bucket}?uploads").text


async def test_what_is_refused_for_something_else_leaves_the_condition(proxy: Proxy, bucket: str) -> None:
    """The error text may be the same."""
    async with opened(proxy, bucket) as store:
        proxy.plan("PutObject", *[answer(400, "InvalidRequest")] * 2)
        with pytest.raises(UnavailableError, match="InvalidRequest"):
            await store.put(JOB, pdf(5))
        assert await store.put(JOB, pdf(5)) == pdf(5).info
    last = [request for request in proxy.requests if request.operation == "PutObject"][-1]
    assert "if-none-match" in last.headers


async def test_the_check_sends_what_the_daemon_sends(server: str, proxy: Proxy, bucket: str) -> None:
    async with opened(proxy, bucket) as store:
        assert await store.check() == []
    used = {"PutObject", "HeadObject", "GetObject", "DeleteObject", "CreateMultipartUpload", "UploadPart"}
    assert set(proxy.seen) == used | {"CompleteMultipartUpload"}
    assert any("if-none-match" in request.headers for request in proxy.requests if request.operation == "PutObject")
    assert any("range" in request.headers for request in proxy.requests if request.operation == "GetObject")
    assert "<Key>" not in ask_s3(server, "GET", bucket).text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("RequestTimeTooSkewed", "clock"),
        ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
    ],
)
async def test_the_check_tells_a_wrong_clock_from_a_wrong_key(proxy: Proxy, bucket: str, code: str, words: str) -> None:
    for operation in ("PutObject", "HEAD", "HeadObject"):
        proxy.plan(operation, *[answer(403, code)] * 9)
    async with opened(proxy, bucket) as store:
        [problem] = await store.check()
    assert words in problem


def made(data: bytes) -> Pdf:
    return Pdf(len(data), hashlib.sha256(data).hexdigest(), data=data)


async def test_a_server_that_takes_no_condition_is_marked_once_all_the_same(proxy: Proxy, bucket: str) -> None:
    proxy.plan("PutObject", *[without_conditions()] * 20)
    async with opened(proxy, bucket) as store:
        assert await store.mark("first") == "first"
        assert await store.mark("second") == "first"
