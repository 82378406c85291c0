"""Error texts for refusals of AWS: they say what to do, and hold no secret."""

import json
import traceback
from collections.abc import AsyncIterator, Iterator

import pytest

from reportd.adapters.aws import errors
from reportd.adapters.sqs import open_queue_client, open_sqs_queue
from reportd.ports import UnavailableError
from tests.servers.aws import new_queue, pretend_credentials, running_moto
from tests.servers.faulty_proxy import Proxy, answer, open_proxy, respond

pytestmark = pytest.mark.stands_still("making a client of AWS takes a quarter of a second of parsing")

SECRETS = ("s3cr3t-of-the-tests", "the-session-token", "Signature=", "AKIATESTING")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-session-token")


@pytest.fixture
async def proxy(server: str) -> AsyncIterator[Proxy]:
    async with open_proxy(server) as proxy:
        yield proxy


CANONICAL = (
    "The request signature we calculated does not match the signature you provided. The Canonical String for this "
    "request should have been 'POST / x-amz-security-token:the-session-token'"
)


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (403, "InvalidClientTokenId", "The security token included in the request is invalid", "AWS_ACCESS_KEY_ID"),
        (403, "InvalidSignatureException", CANONICAL, "AWS_SECRET_ACCESS_KEY"),
        (403, "ExpiredToken", "The security token included in the request is expired", "renew"),
        (
            403,
            "InvalidSignatureException",
            "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z (20260101T001000Z - 5 min.)",
            "set-ntp",
        ),
        (403, "InvalidSignatureException", "Signature not yet current: 20260101T001000Z", "set-ntp"),
        (403, "RequestTimeTooSkewed", "The difference is too large", "set-ntp"),
        (
            403,
            "AccessDenied",
            "User: arn:aws:iam::1:user/x is not authorized to perform: sqs:receivemessage",
            "IAM policy.*sqs:receivemessage",
        ),
        (400, "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.", "reportd provision"),
        (400, "KMS.DisabledException", "key is disabled", "KMS key"),
        (400, "SomethingNew", "never heard of", r"SomethingNew \(400\)"),
    ],
)
async def test_a_refusal_says_what_to_do_and_no_secret(
    server: str, proxy: Proxy, status: int, code: str, message: str, words: str
) -> None:
    url = new_queue(server).replace(server, proxy.url)
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        proxy.plan("ReceiveMessage", *[answer(status, code, message)] * 2)
        with pytest.raises(UnavailableError, match=words) as caught:
            await queue.receive(1, 0)
    said = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in SECRETS if secret in said]


async def test_without_credentials_it_says_where_they_come_from(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(UnavailableError, match="no AWS credentials: set AWS_ACCESS_KEY_ID"):
        async with open_sqs_queue(new_queue(server), visibility_seconds=30):
            pass


async def test_the_role_of_the_machine_is_used(server: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library requests the credentials, and must do so on trio."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", proxy.url)
    credentials = {
        "Code": "Success",
        "AccessKeyId": "AKIAROLE",
        "SecretAccessKey": "role-secret",
        "Token": "role-token",
        "Expiration": "2126-01-01T00:00:00Z",
    }
    for method, body in (("PUT", b"token"), ("GET", b"the-role"), ("GET", json.dumps(credentials).encode())):
        proxy.plan({"PUT": "PutObject", "GET": "GetObject"}[method], respond(body))
    url = new_queue(server).replace(server, proxy.url)
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        assert (await queue.depth()).visible == 0
    assert "Credential=AKIAROLE/" in proxy.requests[-1].headers["authorization"]


async def test_a_profile_that_is_not_there_is_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UnavailableError, match="ProfileNotFound"):
        async with open_sqs_queue(new_queue(server), visibility_seconds=30):
            pass


async def test_without_a_region_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(UnavailableError, match="no region is known"):
        async with open_queue_client("http://127.0.0.1:9/1/queue"):
            pass


@pytest.mark.parametrize(
    ("url", "region", "endpoint_url"),
    [
        ("https://sqs.eu-west-3.amazonaws.com/123456789012/q", "eu-west-3", "https://sqs.eu-west-3.amazonaws.com"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn"),
        ("https://sqs-fips.us-west-2.amazonaws.com/1/q", "us-west-2", "https://sqs-fips.us-west-2.amazonaws.com"),
        (
            "https://vpce-0a-1b.sqs.us-east-2.vpce.amazonaws.com/1/q",
            "us-east-2",
            "https://vpce-0a-1b.sqs.us-east-2.vpce.amazonaws.com",
        ),
        ("http://127.0.0.1:9324/1/q", "eu-central-1", "http://127.0.0.1:9324"),
    ],
)
async def test_the_url_of_a_queue_says_where_it_is(url: str, region: str, endpoint_url: str) -> None:
    async with open_queue_client(url) as client:
        assert (client.meta.region_name, client.meta.endpoint_url) == (region, endpoint_url)


async def test_what_is_configured_counts_more_than_the_url() -> None:
    url = "https://sqs.eu-west-3.amazonaws.com/123456789012/q"
    async with open_queue_client(url, "us-east-1", "http://127.0.0.1:9") as client:
        assert (client.meta.region_name, client.meta.endpoint_url) == ("us-east-1", "http://127.0.0.1:9")


async def test_an_exception_of_the_block_leaves_it_as_it_is(server: str) -> None:
    with pytest.raises(KeyError):
        async with open_sqs_queue(new_queue(server), visibility_seconds=30):
            raise KeyError


@pytest.mark.parametrize("status", [500, 503])
def test_a_fault_of_the_server_is_never_the_messages(status: int) -> None:
    assert isinstance(errors.explain("queue", "q", "InvalidParameterValue", "", status), UnavailableError)
    assert isinstance(errors.explain("queue", "q", "InvalidParameterValue", "", 400), errors.RejectedError)


async def test_an_address_that_cannot_be_used_is_told_without_its_password() -> None:
    url = f"https://key:{SECRETS[0]}@sqs_test/1/reports?{SECRETS[2]}x"
    with pytest.raises(UnavailableError) as caught:
        async with open_queue_client(url, "eu-west-1"):
            pass
    text = "".join(traceback.format_exception(caught.value))
    assert "reports: " in text
    assert "check endpoint_url" in text
    assert not [secret for secret in SECRETS if secret in text]
