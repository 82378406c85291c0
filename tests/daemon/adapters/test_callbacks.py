"""Callbacks: the request, the receivers that are allowed, and the meaning of their answers."""

import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trio
from standardwebhooks import Webhook
from trio.testing import MockClock

from reportd.adapters.outbound.callbacks import HttpMessenger, open_messenger
from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.job import Job
from reportd.core.jobs.transitions import JobEvent
from reportd.notify.callbacks import Notifier
from reportd.ports import Callback, DeliveryError, DeliveryOutcome, Settlement
from tests.fakes import EPOCH, MemoryJobs, MemoryOutbox, now
from tests.servers.authority import Authority, open_secure_site
from tests.servers.redis import make_certificate
from tests.servers.site import Content, Reply, Request, Site, hang, open_site, redirect, stream_for_ever
from tests.wording import mentions

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "report.succeeded", "data": {"reportType": "销售"}}).encode()


def callback(url: str) -> Callback:
    return Callback("id-1", "task-1", url, "host", BODY, 1, EPOCH, "token")


def never(_address: str, _port: int) -> bool:
    return False


@asynccontextmanager
async def opened(
    *hosts: str, secret: str = SECRET, forbidden: Any = never, ca_file: Path | None = None
) -> AsyncIterator[HttpMessenger]:
    async with open_messenger(hosts, secret, forbidden, ca_file=ca_file) as messenger:
        yield messenger


async def deliver(messenger: HttpMessenger, url: str) -> str:
    """The delivery error, with ``final`` in front if it is; empty for success."""
    with trio.fail_after(30):
        try:
            await messenger.deliver(callback(url))
        except DeliveryError as error:
            told = f"final: {error}" if error.final else str(error)
        else:
            told = ""
    assert "s3cret" not in told
    return told


class Names(trio.abc.HostnameResolver):
    """Resolves a name to the next of its lists of addresses; the last list repeats."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name not in self._answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        answers = self._answers[name]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(families[ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, int(port))) for one in found]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


def resolve(**answers: list[list[str]]) -> Names:
    """Until the end of the test."""
    names = Names({name.replace("_", "."): found for name, found in answers.items()})
    trio.socket.set_custom_hostname_resolver(names)
    return names


# --- what is sent -------------------------------------------------------------------------------------------


async def test_it_is_signed_as_standard_webhooks_describe() -> None:
    async with open_site({"/done": Reply("thanks")}) as site, opened("127.0.0.1") as messenger:
        assert await deliver(messenger, site.url("/done?token=s3cret&x=%20")) == ""
    (request,) = site.requests
    assert (request.method, request.target, request.body) == ("POST", "/done?token=s3cret&x=%20", BODY)
    assert request.headers["webhook-id"] == "id-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{site.port}"
    assert Webhook(SECRET).verify(request.body, dict(request.headers)) == json.loads(BODY)


async def test_without_a_secret_it_is_not_signed() -> None:
    async with open_site({"/done": Reply()}) as site, opened("127.0.0.1", secret="") as messenger:
        assert await deliver(messenger, site.url("/done")) == ""
    (request,) = site.requests
    assert "webhook-signature" not in request.headers
    assert request.headers["webhook-id"] == "id-1"


async def test_the_name_goes_with_it_and_user_and_password_as_a_header() -> None:
    resolve(app_test=[["127.0.0.1"]])
    async with open_site({"/done": Reply()}) as site, opened("app.test") as messenger:
        assert await deliver(messenger, f"http://ada:s3cret@app.test:{site.port}/done#part") == ""
    (request,) = site.requests
    assert request.headers["host"] == f"app.test:{site.port}"
    assert request.headers["authorization"] == "Basic YWRhOnMzY3JldA=="
    assert request.target == "/done"


async def test_the_environments_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    async with open_site({"/done": Reply()}) as site, opened("127.0.0.1") as messenger:
        assert await deliver(messenger, site.url("/done")) == ""


async def test_a_certificate_must_be_that_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "app.test")
    resolve(app_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    site = Site("127.0.0.1", 0, {"/done": Reply()})

    async def serve(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await site.serve(trio.SSLStream(stream, server, server_side=True))  # type: ignore[arg-type]  # alike

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async with opened("app.test") as messenger:
            assert "CERTIFICATE_VERIFY_FAILED" in await deliver(messenger, f"https://app.test:{port}/done")
        assert not site.requests
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        async with opened("app.test", "other.test") as messenger:
            assert await deliver(messenger, f"https://app.test:{port}/done") == ""
            assert "CERTIFICATE_VERIFY_FAILED" in await deliver(messenger, f"https://other.test:{port}/done")
    (request,) = site.requests
    assert request.headers["host"] == f"app.test:{port}"


# --- where it may go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://other.test/", "other.test is not among the allowed hosts"),
        ("http://app.test:99/", "app.test is allowed, but not on port 99"),
        ("http://127.0.0.1/", "127.0.0.1 is an IP address that allowed_hosts does not list"),
        ("http://[::1]/", "::1 is an IP address"),
        ("http://2130706433/", "neither a name nor an IP address"),
        ("http://app.test@other.test/", "other.test is not among"),
        ("http://sub.wild.test/", "sub.wild.test resolves to 10.0.0.5: a wildcard allows public only"),
        ("http://meta.test/", "meta.test resolves to 169.254.169.254, a link-local address"),
        ("ftp://app.test/", "absolute http or https URL"),
        ("app.test/done", "absolute http or https URL"),
        ("", "absolute http or https URL"),
        ("http://app.test/\n", "the callback URL"),
    ],
)
async def test_what_is_refused_for_good(url: str, reason: str) -> None:
    resolve(app_test=[["127.0.0.1"]], sub_wild_test=[["10.0.0.5"]], meta_test=[["169.254.169.254"]])
    async with opened("app.test:80", "*.wild.test", "meta.test") as messenger:
        told = await deliver(messenger, url)
    assert told.startswith("final: ")
    assert reason in told


async def test_a_name_is_resolved_once_and_that_address_is_used() -> None:
    names = resolve(app_test=[["127.0.0.1"], ["127.0.0.2"]])
    async with open_site({"/done": Reply()}) as site, opened("app.test") as messenger:
        assert await deliver(messenger, f"http://app.test:{site.port}/done") == ""
    assert names.asked == ["app.test"]
    assert len(site.requests) == 1


async def test_the_daemon_itself_is_never_called() -> None:
    """It would do what the URL says, as a request from this machine."""
    own: set[int] = set()
    forbidden = lambda _, port: port in own  # noqa: E731 - of the site, which is not there yet
    async with open_site({"/done": Reply()}) as site, opened("127.0.0.1", forbidden=forbidden) as messenger:
        own.add(site.port)
        told = await deliver(messenger, site.url("/done"))
    assert told.startswith("final: ")
    assert "the daemon's own" in told
    assert site.connections == 0


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with open_site({"/done": Reply()}) as site, opened("app.test") as messenger:
        resolve(app_test=[["127.0.0.9", "127.0.0.1"]])
        assert await deliver(messenger, f"http://app.test:{site.port}/done") == ""
        resolve(app_test=[["127.0.0.9"]])
        told = await deliver(messenger, f"http://app.test:{site.port}/done")
    assert told == "127.0.0.9: no connection (Connection refused)"


async def test_a_name_that_is_not_found_may_be_found_later() -> None:
    resolve()
    async with opened("app.test") as messenger:
        assert mentions(await deliver(messenger, "http://app.test/"), "name", "Name or service not known")


# --- what the answers mean ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, ""),
        (204, ""),
        (400, "the receiver answers 400"),
        (404, "the receiver answers 404"),
        (410, "final: the receiver answers 410: it wants no more callbacks"),
        (429, "the receiver answers 429"),
        (500, "the receiver answers 500"),
        (304, "the receiver answers 304"),
    ],
)
async def test_statuses(status: int, told: str) -> None:
    page = Reply("" if status == 304 else "s3cret", status)
    async with open_site({"/done": page}) as site, opened("127.0.0.1") as messenger:
        assert await deliver(messenger, site.url("/done")) == told


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://10.0.0.5/admin", "final: refused: 10.0.0.5 is an IP address that allowed_hosts does not list"),
        ("http://169.254.169.254/latest/meta-data", "final: refused: 169.254.169.254 is an IP address"),
        ("http://sub.wild.test/", "final: refused: sub.wild.test resolves to 10.0.0.5: a wildcard allows public"),
        ("file:///etc/passwd", "final: refused: it is not an absolute http"),
        ("/elsewhere", "the receiver answers 307: redirects are not followed, so name their target"),
        ("http://\x01/", "the exchange with 127.0.0.1 broke off (RemoteProtocolError)"),
    ],
)
async def test_redirects_are_not_followed(location: str, told: str) -> None:
    resolve(sub_wild_test=[["10.0.0.5"]])
    pages = {"/done": redirect(location, 307), "/elsewhere": Reply()}
    async with open_site(pages) as site, opened("127.0.0.1", "*.wild.test") as messenger:
        assert (await deliver(messenger, site.url("/done"))).startswith(told)
    assert [request.path for request in site.requests] == ["/done"]


async def test_nobody_reads_the_answers_body() -> None:
    async with open_site({"/done": stream_for_ever}) as site, opened("127.0.0.1") as messenger:
        assert await deliver(messenger, site.url("/done")) == ""


async def test_a_receiver_that_breaks_off() -> None:
    async def break_off(_: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 20")

    async def babble(_: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(b"s3cret\r\n\r\n")

    async with open_site({"/a": break_off, "/b": babble}) as site, opened("127.0.0.1") as messenger:
        for path in ("/a", "/b"):
            told = await deliver(messenger, site.url(path))
            assert mentions(told, "127.0.0.1", "RemoteProtocolError")
            assert "s3cret" not in told


# --- together with the notifier -----------------------------------------------------------------------------


@pytest.fixture
def patient_clock() -> MockClock:
    """The clock jumps once nothing has moved for a moment; traffic on a socket does not stop it."""
    return MockClock(autojump_threshold=0.03)


async def test_two_minutes_of_failures_a_receiver_that_hangs_and_one_that_redirects(patient_clock: MockClock) -> None:
    outbox = MemoryOutbox()
    jobs = MemoryJobs(outbox=outbox)
    pages: dict[str, Content] = {
        "/fails": Reply("no", 503),
        "/hangs": hang,
        "/redirects": redirect("http://192.168.0.1/"),
        "/well": Reply(),
    }
    async with open_site(pages) as site, opened("127.0.0.1") as messenger, open_background() as nursery:
        nursery.start_soon(Notifier(outbox, messenger, retry_seconds=3600, clock=now).run)
        for number, path in enumerate(pages):
            task_id = f"{number:08d}-0000-4000-8000-000000000000"
            await jobs.add([Job(task_id, "report", {}, "user", EPOCH, site.url(path))])
            await jobs.settle(Settlement(task_id, JobEvent.CANCELLED, now()))
        assert patient_clock.current_time() < 1, "no job has waited"
        await trio.sleep(120)
        assert [entry.outcome for entry in outbox.entries] == [
            None,
            None,
            DeliveryOutcome.REFUSED,
            DeliveryOutcome.DELIVERED,
        ]
        site.pages |= {"/fails": Reply(), "/hangs": Reply()}
        while None in [entry.outcome for entry in outbox.entries]:
            await trio.sleep(10)
        assert patient_clock.current_time() < 400
    outcomes = [entry.outcome for entry in outbox.entries]
    assert outcomes == [
        DeliveryOutcome.DELIVERED,
        DeliveryOutcome.DELIVERED,
        DeliveryOutcome.REFUSED,
        DeliveryOutcome.DELIVERED,
    ]
    for path in ("/fails", "/hangs"):
        requests = site.asked(path)
        assert len({request.headers["webhook-id"] for request in requests}) == 1
        assert len(requests) > 3
        for request in requests:
            Webhook(SECRET).verify(request.body, dict(request.headers), json_parse=False)
    assert len(site.asked("/redirects")) == len(site.asked("/well")) == 1


async def test_a_receiver_whose_authority_is_the_operators_own_is_trusted_only_by_its_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with open_secure_site(authority.server(), {"/": Reply("well")}) as receiver:
        async with opened("127.0.0.1") as messenger:
            assert "TLS: CERTIFICATE_VERIFY_FAILED" in await deliver(messenger, f"{receiver}/")
        async with opened("127.0.0.1", ca_file=authority.file) as messenger:
            assert await deliver(messenger, f"{receiver}/") == ""
