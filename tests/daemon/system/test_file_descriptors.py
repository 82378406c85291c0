"""Without file descriptors, each part waits or is reported unavailable; no page is blamed, and nothing ends."""

import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import text
from structlog.testing import capture_logs

from reportd.adapters.artifacts.folder import FileArtifacts
from reportd.adapters.artifacts.s3 import open_s3_artifacts
from reportd.adapters.chromium.process import process as process_module
from reportd.adapters.chromium.process.proc import group_members
from reportd.adapters.chromium.process.process import open_process
from reportd.adapters.chromium.process.run_folder import open_run_folder
from reportd.adapters.egress.resolving import judged_addresses
from reportd.adapters.redis.connection import open_redis
from reportd.adapters.sql.database import open_database
from reportd.adapters.sqs import open_sqs_queue
from reportd.adapters.templates.templates import Templates
from reportd.browsers.pool import PoolSettings, open_pool
from reportd.concurrency.nurseries import open_background
from reportd.config.models import Breaker as BreakerOptions
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.transitions import JobState
from reportd.core.pages.network import NetworkRule
from reportd.intake.tokens import Tokens, TokensFileError
from reportd.ports import BrowserError, Pdf, UnavailableError
from reportd.system import file_descriptors, sd_notify
from reportd.system.file_descriptors import AFTERMATH_SECONDS, LOOK_SECONDS, Descriptors, once_available
from tests.daemon.node import Node, World, job
from tests.descriptors import none_left, some_left
from tests.fakes import FakeLauncher
from tests.servers.aws import new_bucket, new_queue, pretend_credentials
from tests.servers.postgresql import Postgres
from tests.servers.redis import RedisServer, running_redis

SPENT = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "Too many open files in system")]
spent = pytest.mark.parametrize("error", SPENT, ids=["EMFILE", "ENFILE"])


class Files:
    """A fake open: fails with ``error`` until a time."""

    def __init__(self, error: OSError, until: float = float("inf")) -> None:
        self._error = error
        self._until = until

    def open(self) -> None:
        if trio.current_time() < self._until:
            raise self._error

    async def open_soon(self) -> str:
        self.open()
        return "open"


# --- detection ----------------------------------------------------------------------------------------------


def test_the_kernel_is_asked() -> None:
    file_descriptors.probe()
    with none_left(), pytest.raises(OSError, match="Too many open files") as caught:
        file_descriptors.probe()
    assert file_descriptors.none_left(caught.value)
    assert not file_descriptors.none_left(OSError(errno.ENOSPC, "No space left on device"))
    assert not file_descriptors.none_left(ValueError())


@pytest.mark.usefixtures("autojump_clock")
@spent
async def test_what_needs_one_waits_for_it(error: OSError) -> None:
    assert await once_available(Files(error, until=12.0).open_soon) == "open"
    assert trio.current_time() == pytest.approx(12.0, abs=file_descriptors.RETRY_SECONDS)


@pytest.mark.usefixtures("autojump_clock")
async def test_what_fails_otherwise_is_told_at_once() -> None:
    with pytest.raises(ConnectionRefusedError):
        await once_available(Files(ConnectionRefusedError(errno.ECONNREFUSED, "refused")).open_soon)
    assert trio.current_time() == 0


@pytest.mark.usefixtures("autojump_clock")
@spent
async def test_that_there_were_none_is_remembered_and_logged_once_a_minute(error: OSError) -> None:
    files = Files(error, until=30.0)
    with capture_logs() as lines:
        async with open_background() as nursery:
            watch = Descriptors(files.open)
            nursery.start_soon(watch.run)
            await trio.sleep(40)
            assert watch.felt_since(0.0)
            assert watch.felt_since(30 - LOOK_SECONDS)
            assert watch.felt_since(29 + AFTERMATH_SECONDS)
            assert not watch.felt_since(30.1 + AFTERMATH_SECONDS)
            files._until = 41.0
            assert watch.felt_since(trio.current_time() + AFTERMATH_SECONDS)  # it probes too
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    line = {"event": "descriptors.none_left", "log_level": "error", "error": error.strerror, "limit": limit}
    assert lines == [{**line, "heldBack": 0}]


# --- jobs ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
@pytest.mark.parametrize("kind", [FaultKind.UNREACHABLE, FaultKind.TIMEOUT, FaultKind.SCRIPT_ERROR])
async def test_what_failed_meanwhile_uses_no_attempt_and_tells_no_breaker(kind: FaultKind) -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [kind]
    node = Node(world, breaker=BreakerOptions(failure_threshold=1))
    begun = trio.current_time()
    node.worker._attempts._shortage_since = begun.__ge__  # when the render began, and not since
    await node.handle(*await world.received(one))
    record = world.record(one)
    assert record.error is not None
    assert (record.state, record.error.kind) == (JobState.QUEUED, FaultKind.OUT_OF_FILES)
    assert record.error.detail.startswith("the node had no file descriptor left; ")
    assert (record.tally.attempts, record.tally.uncounted) == (0, 1)
    assert not node.breakers.resting()
    node.worker._attempts._shortage_since = lambda _begun: False
    await trio.sleep(61)
    await node.handle(*await world.queue.receive(1, 0.0))
    assert (world.record(one).state, world.record(one).tally.attempts) == (JobState.SUCCEEDED, 1)


@pytest.mark.usefixtures("autojump_clock")
async def test_a_browser_that_died_counts_all_the_same() -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [FaultKind.PAGE_CRASHED]
    node = Node(world)
    node.worker._attempts._shortage_since = lambda _begun: True
    await node.handle(*await world.received(one))
    assert world.record(one).tally.losses == 1


@pytest.mark.usefixtures("autojump_clock")
@spent
@pytest.mark.parametrize("where", ["render", "prepare"])
async def test_the_error_itself_is_the_nodes_fault(error: OSError, where: str) -> None:
    world, one = World(), job()
    if where == "prepare":
        world.types.broken = error
    else:
        world.renderer.faults[one.task_id] = [error]
    await Node(world).handle(*await world.received(one))
    record = world.record(one)
    assert record.error is not None
    assert (record.state, record.error.kind) == (JobState.QUEUED, FaultKind.OUT_OF_FILES)
    assert record.tally.attempts == 0


def test_a_template_that_can_not_be_opened_is_not_at_fault(tmp_path: Path) -> None:
    (tmp_path / "one.html").write_text("<p>{{ word }}</p>")
    templates = Templates([tmp_path])
    with none_left(), pytest.raises(FaultError) as caught:
        templates.render("one.html", {"word": "x"})
    assert caught.value.fault.kind is FaultKind.OUT_OF_FILES
    assert templates.render("one.html", {"word": "x"}) == "<p>x</p>"


# --- parts --------------------------------------------------------------------------------------------------


async def survives(call: Callable[[], Awaitable[object]]) -> None:
    """With any number of descriptors left, it works or reports the part as unavailable, and works again later."""
    refused = 0
    for number in range(8):
        with some_left(number):
            try:
                await call()
            except UnavailableError:
                refused += 1
    assert refused
    await call()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/reportd.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database("files") as url:
        yield url


@pytest.mark.parametrize("way", ["read", "write"])
async def test_a_database(database_url: str, way: str) -> None:
    async def call() -> None:
        async with open_database(database_url) as database:
            use = database.read if way == "read" else database.write
            assert await use(lambda connection: connection.execute(text("SELECT 1")).scalar_one()) == 1

    await call()  # modules that it imports late
    await survives(call)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


async def test_redis(redis: RedisServer) -> None:
    async def call() -> None:
        async with open_redis(redis.url) as connected:
            assert await connected.run("return 1", "any", []) == 1

    await call()
    await survives(call)


@pytest.fixture
def queue_url(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    pretend_credentials(monkeypatch)
    return new_queue(moto, fifo=False)


async def test_sqs(queue_url: str) -> None:
    async with open_sqs_queue(queue_url, visibility_seconds=30, depth_seconds=0.0) as queue:
        await queue.depth()  # modules that it imports late
    async with open_sqs_queue(queue_url, visibility_seconds=30, depth_seconds=0.0) as queue:
        await survives(queue.depth)


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    pretend_credentials(monkeypatch)
    return new_bucket(moto)


async def test_s3(moto: str, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "pdf").write_bytes(b"%PDF")
    pdf, numbers = Pdf(4, "", path=tmp_path / "pdf"), count()
    async with open_s3_artifacts(bucket, presign_seconds=60, endpoint_url=moto) as store:
        await store.put(job(next(numbers)), pdf)  # modules that it imports late
        with none_left(), pytest.raises(UnavailableError, match="the PDF can't be read"):
            await store.put(job(next(numbers)), pdf)
    async with open_s3_artifacts(bucket, presign_seconds=60, endpoint_url=moto) as store:
        await survives(lambda: store.put(job(next(numbers)), pdf))


@pytest.mark.parametrize("spooled", [False, True])
async def test_a_folder_of_pdfs(tmp_path: Path, *, spooled: bool) -> None:
    (tmp_path / "pdf").write_bytes(b"%PDF")
    pdf = Pdf(4, "", path=tmp_path / "pdf") if spooled else Pdf(4, "", data=b"%PDF")
    store, numbers = FileArtifacts(tmp_path / "pdfs"), count()
    await survives(lambda: store.put(job(next(numbers)), pdf))
    assert not list(tmp_path.rglob("*.part"))  # noqa: ASYNC240 - a test's own folder


def test_the_file_of_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"ada read sha256:{'0' * 64}\n")
    file.chmod(0o600)
    tokens = Tokens(file)
    with none_left():
        with pytest.raises(TokensFileError):
            tokens.read()
        with pytest.raises(TokensFileError):
            Tokens(file)
    assert tokens.named("ada")


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN])
async def test_a_name_that_can_not_be_looked_up_for_want_of_descriptors_is_not_unknown(number: int) -> None:
    """The resolver's error depends on whether it could not open a file or a socket."""

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            raise socket.gaierror(number, "no")

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())

    async def look_up() -> None:
        rule = NetworkRule.of(["reports.test"])
        await judged_addresses(rule, "reports.test", 80, lambda _address, _port: False, trio.CapacityLimiter(1))

    with pytest.raises(socket.gaierror):
        await look_up()
    with none_left(), pytest.raises(OSError, match="Too many open files"):
        await look_up()


def test_systemd_hears_of_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise systemd would end the daemon (WatchdogSec=)."""
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(address)
        sd_notify.notify("STATUS=starting")
        with none_left():
            sd_notify.notify("WATCHDOG=1")
        assert [heard.recv(100) for _ in range(2)] == [b"STATUS=starting", b"WATCHDOG=1"]


# --- browsers -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("autojump_clock")
@spent
@pytest.mark.parametrize("where", ["start", "page"])
async def test_the_pool_goes_on_without_a_browser_until_there_is_one(
    monkeypatch: pytest.MonkeyPatch, error: OSError, where: str
) -> None:
    launcher = FakeLauncher()
    async with open_pool(launcher, PoolSettings(browsers=1, pages_per_browser=2)) as pool:
        await trio.sleep(5)
        (first,) = launcher.running
        with monkeypatch.context() as broken:
            if where == "start":
                broken.setattr(launcher, "launch", _raising(error))
                first.die()
            else:
                broken.setattr(first, "page", _raising(error))
                first.pages[0].close()
                lease = await pool._browsers.take(fresh=True)
                pool._browsers.give_back(lease)
            await trio.sleep(5)
            if where == "start":
                assert pool.state().trouble == str(error)
        await trio.sleep(60)
        assert pool.state().trouble == ""
        assert len(launcher.running) == 1


def _raising(error: OSError) -> Any:
    def call(**_: Any) -> Any:
        raise error

    return call


async def test_a_browser_ends_without_a_look_at_proc(tmp_path: Path) -> None:
    fake = "(sleep 61 &); echo '{}' >&4; sleep 63; :"
    with trio.fail_after(20):
        async with open_run_folder(tmp_path) as folder:
            with ExitStack() as shortage:
                async with open_process(["/bin/sh", "-c", fake], folder, 5) as process:
                    shortage.enter_context(none_left())
            assert process.died.is_set()
            assert group_members(process.pid) == []


async def test_a_browser_starts_or_says_why_not_with_any_number_left(tmp_path: Path) -> None:
    """A start that waits for a descriptor ends with the start timeout, 0.2 s here."""
    fake = "echo '{}' >&4; sleep 63; :"
    async with open_run_folder(tmp_path) as folder:
        started, errors = 0, list[OSError]()
        for number in range(12):
            with some_left(number), trio.move_on_after(2):
                try:
                    async with open_process(["/bin/sh", "-c", fake], folder, 0.2):
                        started += 1
                except BrowserError:
                    pass
                except OSError as error:
                    errors.append(error)
        assert all(map(file_descriptors.none_left, errors))
        assert 0 < started < 12


async def test_a_browser_waits_for_the_handle_that_tells_of_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_handle, errors = os.pidfd_open, list(SPENT)

    def scarce(pid: int) -> int:
        if errors:
            raise errors.pop()
        return open_handle(pid)

    monkeypatch.setattr(os, "pidfd_open", scarce)
    fake = "echo '{}' >&4; sleep 1; :"
    with trio.fail_after(20):
        async with open_run_folder(tmp_path) as folder, open_process(["/bin/sh", "-c", fake], folder, 5) as process:
            await process.died.wait()
    assert not errors


async def test_proc_is_not_walked_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked: list[bool] = []

    def walk(_group: int) -> list[int]:
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            walked.append(False)
        else:
            walked.append(True)
        return []

    monkeypatch.setattr(process_module, "group_members", walk)
    fake = "echo '{}' >&4; sleep 63; :"
    async with open_run_folder(tmp_path) as folder, open_process(["/bin/sh", "-c", fake], folder, 5):
        pass
    assert walked
    assert not any(walked)
