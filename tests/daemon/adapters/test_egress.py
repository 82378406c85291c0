"""The egress proxy alone: what it allows, what it refuses, and how a connection ends."""

import errno
import socket as std_socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from threading import Event
from typing import Any

import pytest
import trio
import trio.testing

from reportd.adapters.egress import connecting
from reportd.adapters.egress import proxy as module
from reportd.adapters.egress.own_ports import OwnPorts, is_own_address
from reportd.adapters.egress.proxy import (
    CONNECTIONS_PER_HANDSHAKE,
    MAX_NOTES,
    Egress,
    Failure,
    Refusal,
    open_egress,
)
from reportd.adapters.egress.resolving import LookupThreads
from reportd.concurrency.nurseries import open_background
from reportd.core.pages.network import NetworkRule
from reportd.system.file_limit import MOST_PAGE_CONNECTIONS
from tests.descriptors import none_left

SUCCEEDED, NOT_ALLOWED, UNREACHABLE, REFUSED, NO_COMMAND, NO_ADDRESS_TYPE = 0, 2, 4, 5, 7, 8
UNLIMITED = 1 << 40
PATIENCE_SECONDS = 5.0
"""Limit for what must come at once; anything slower has failed."""

Serve = Callable[[trio.SocketStream], Awaitable[None]]


def ignore() -> None:
    pass


@asynccontextmanager
async def upstream(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """The port of a server."""

    async def serve_quietly(stream: trio.SocketStream) -> None:
        try:
            await serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    listeners = await trio.open_tcp_listeners(0, host=host)
    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, serve_quietly, listeners)
        yield listeners[0].socket.getsockname()[1]


async def echo(stream: trio.SocketStream) -> None:
    while data := await stream.receive_some(65536):
        await stream.send_all(data)


@asynccontextmanager
async def opened(
    *hosts: str, max_bytes: int = UNLIMITED, forbidden: Any = None, most: int = MOST_PAGE_CONNECTIONS
) -> AsyncIterator[Egress]:
    async with open_egress(forbidden or (lambda _address, _port: False), max_connections=most) as egress:
        egress.use(NetworkRule.of(hosts), max_bytes, ignore)
        yield egress


def _request(host: str, port: int, command: int = 1) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode()
        where = b"\x03" + bytes([len(name)]) + name
    else:
        where = (b"\x01" if address.version == 4 else b"\x04") + address.packed
    return b"\x05\x01\x00" + bytes([5, command, 0]) + where + struct.pack("!H", port)


@asynccontextmanager
async def ask(egress: Egress, host: str, port: int, **options: int) -> AsyncIterator[tuple[trio.SocketStream, int]]:
    """A connection of the browser, and the proxy's reply."""
    async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
        await client.send_all(_request(host, port, **options))
        reply = await exactly(client, 12)
        assert reply[:2] == b"\x05\x00"
        assert reply[2] == 5
        yield client, reply[3]


async def exactly(stream: trio.SocketStream, size: int) -> bytes:
    got = b""
    with trio.fail_after(PATIENCE_SECONDS):
        while len(got) < size:
            data = await stream.receive_some(size - len(got))
            assert data, f"ended after {got!r}"
            got += data
    return got


async def ending(stream: trio.SocketStream) -> str:
    """How it ends, after all data has been read."""
    with trio.fail_after(PATIENCE_SECONDS):
        try:
            while await stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            return "reset"
    return "end"


class Names(trio.abc.HostnameResolver):
    """Resolves a name to the next answer in its list."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): answers for name, answers in answers.items()}
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        if name not in self._answers:
            raise std_socket.gaierror(std_socket.EAI_NONAME, "Name or service not known")
        answers = self._answers[name]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        families = {4: std_socket.AF_INET, 6: std_socket.AF_INET6}
        return [(families[ip_address(one).version], std_socket.SOCK_STREAM, 6, "", (one, int(port))) for one in found]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


def resolve(**answers: list[list[str]]) -> Names:
    names = Names(**answers)
    trio.socket.set_custom_hostname_resolver(names)
    return names


# --- what gets through --------------------------------------------------------------------------------------


async def test_an_allowed_connection_carries_bytes_both_ways() -> None:
    sent = bytes(range(256)) * 10_000
    async with upstream(echo) as port, opened("127.0.0.1") as egress, ask(egress, "127.0.0.1", port) as (client, reply):
        assert reply == SUCCEEDED
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, sent)
            assert await exactly(client, len(sent)) == sent
        assert egress.bytes_received == len(sent)
        assert egress.refusals == ()
        assert egress.failures == ()


async def test_each_side_may_end_before_the_other() -> None:
    async def answer_at_the_end(stream: trio.SocketStream) -> None:
        got = b""
        while data := await stream.receive_some(65536):
            got += data
        await stream.send_all(b"got " + got)

    async with (
        upstream(answer_at_the_end) as port,
        opened("127.0.0.1") as egress,
        ask(egress, "127.0.0.1", port) as (client, _),
    ):
        await client.send_all(b"all")
        await client.send_eof()
        assert await exactly(client, 7) == b"got all"
        assert await ending(client) == "end"


async def test_ipv6() -> None:
    async with upstream(echo, "::1") as port, opened("[::1]") as egress, ask(egress, "::1", port) as (client, reply):
        assert reply == SUCCEEDED
        await client.send_all(b"six")
        assert await exactly(client, 3) == b"six"


async def test_names_are_resolved_here_once_for_a_connection() -> None:
    names = resolve(reports_test=[["127.0.0.1"]])
    async with upstream(echo) as port, opened("reports.test") as egress:
        for name in ("reports.test", "REPORTS.test", "reports.test."):
            async with ask(egress, name, port) as (_, reply):
                assert reply == SUCCEEDED
    assert names.asked == ["reports.test"] * 3


async def test_a_name_with_several_addresses_is_tried_at_each() -> None:
    resolve(reports_test=[["127.0.0.2", "::1", "127.0.0.1"]])
    async with (
        upstream(echo) as port,
        opened("reports.test") as egress,
        ask(egress, "reports.test", port) as (_, reply),
    ):
        assert reply == SUCCEEDED


async def test_many_at_once() -> None:
    async with upstream(echo) as port, opened("127.0.0.1") as egress:

        async def talk(n: int) -> None:
            async with ask(egress, "127.0.0.1", port) as (client, _):
                await client.send_all(b"%4d" % n)
                assert await exactly(client, 4) == b"%4d" % n

        async with trio.open_nursery() as nursery:
            for n in range(200):
                nursery.start_soon(talk, n)
        assert egress.bytes_received == 800


# --- what does not ------------------------------------------------------------------------------------------


async def refused(egress: Egress, host: str, port: int) -> str:
    """The reason of a refused connection, recorded once."""
    before = set(egress.refusals)
    async with ask(egress, host, port) as (client, reply):
        assert reply == NOT_ALLOWED
        assert await ending(client) == "end"
    (refusal,) = set(egress.refusals) - before
    assert refusal == Refusal(host, port, refusal.reason)
    return refusal.reason


async def test_nothing_is_allowed_before_a_job_and_after_it() -> None:
    async with upstream(echo) as port, open_egress(lambda _address, _port: False) as egress:
        assert await refused(egress, "127.0.0.1", port) == "no job is running"
        assert not egress.leave()
        egress.use(NetworkRule.of(["127.0.0.1"]), UNLIMITED, ignore)
        async with ask(egress, "127.0.0.1", port) as (client, reply):
            assert reply == SUCCEEDED
            assert egress.leave()
            assert await ending(client) == "reset"
            assert not egress.leave()
        async with ask(egress, "127.0.0.1", port) as (_, reply):
            assert reply == NOT_ALLOWED


async def test_a_job_is_not_served_on_the_connections_of_the_last_one() -> None:
    async with upstream(echo) as port, opened("127.0.0.1") as egress, ask(egress, "127.0.0.1", port) as (client, _):
        egress.use(NetworkRule.of(["127.0.0.1"]), UNLIMITED, ignore)
        assert await ending(client) == "reset"
        assert egress.bytes_received == 0


async def test_a_connection_that_is_just_being_made_ends_with_its_job() -> None:
    started, go_on = trio.Event(), trio.Event()

    class Slow(Names):
        async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
            started.set()
            await go_on.wait()
            return await super().getaddrinfo(*arguments, **options)

    trio.socket.set_custom_hostname_resolver(Slow(reports_test=[["127.0.0.1"]]))
    async with upstream(echo) as port, opened("reports.test") as egress:
        async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
            await client.send_all(_request("reports.test", port))
            with trio.fail_after(PATIENCE_SECONDS):
                await started.wait()
            egress.use(NetworkRule.of(["other.test"]), UNLIMITED, ignore)
            go_on.set()
            assert await exactly(client, 2) == b"\x05\x00"
            assert await ending(client) in ("end", "reset")
        assert not egress.leave()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "an IP address that allowed_hosts does not list"),
        ("other.test", "not among the allowed hosts"),
        ("reports.test.evil.test", "not among the allowed hosts"),
        ("reports.test\0.evil", "not a host name"),
        ("2130706433", "neither a name nor an IP address"),
        ("0x7f.1", "neither a name nor an IP address"),
        ("", "not a host name"),
        ("::1", "an IP address that allowed_hosts does not list"),
        ("::ffff:7f00:1", "an IP address that allowed_hosts does not list"),
        ("partner.test", "resolves to 10.1.2.3: a wildcard allows public only"),
        ("a.partner.test", "resolves to 10.1.2.3: a wildcard allows public only"),
        ("meta.test", "resolves to 169.254.169.254, a link-local address"),
        ("mapped.test", "resolves to 169.254.169.254, a link-local address"),
        ("zero.test", "resolves to 0.0.0.0, a unspecified address"),
    ],
)
async def test_refusals_say_why(host: str, reason: str) -> None:
    names = resolve(
        reports_test=[["127.0.0.1"]],
        a_partner_test=[["10.1.2.3"]],
        meta_test=[["169.254.169.254"]],
        mapped_test=[["::ffff:169.254.169.254"]],
        zero_test=[["0.0.0.0"]],  # noqa: S104
    )
    allowed = ("reports.test", "*.partner.test", "meta.test", "mapped.test", "zero.test")
    async with upstream(echo) as port, opened(*allowed) as egress:
        if host == "partner.test":
            reason = "not among the allowed hosts"
        assert reason in await refused(egress, host, port)
    assert not {"other.test", "reports.test.evil.test", "2130706433"} & set(names.asked)


async def test_a_port_that_is_not_allowed() -> None:
    async with upstream(echo) as port, opened(f"127.0.0.1:{port}") as egress:
        assert "not on port 1" in await refused(egress, "127.0.0.1", 1)
        async with ask(egress, "127.0.0.1", port) as (_, reply):
            assert reply == SUCCEEDED


async def test_a_name_that_changes_its_address_is_judged_by_the_one_that_is_used() -> None:
    """DNS rebinding: there is no second lookup between check and connect."""
    names = resolve(a_partner_test=[["192.0.2.1", "127.0.0.1"], ["127.0.0.1"]])
    seen: list[str] = []

    async def count(_: trio.SocketStream) -> None:
        seen.append("reached")

    async with upstream(count) as port, opened("*.partner.test") as egress:
        assert "resolves to 127.0.0.1" in await refused(egress, "a.partner.test", port)
    assert names.asked == ["a.partner.test"]
    assert seen == []


async def test_own_ports_are_forbidden_at_own_addresses_only() -> None:
    ports = OwnPorts(lambda _address, port: port == 2)
    assert not ports.forbid("127.0.0.1", 1)
    with ports.using(1):
        assert ports.forbid("127.0.0.1", 1)
        assert ports.forbid("127.9.9.9", 1)
        assert ports.forbid("::1", 1)
        assert not ports.forbid("192.0.2.1", 1)
    assert not ports.forbid("127.0.0.1", 1)
    assert ports.forbid("127.0.0.1", 2)
    assert not ports.forbid("192.0.2.1", 2)


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
    ],
)
async def test_own_addresses(address: str, own: bool) -> None:
    assert is_own_address(address) is own


async def test_the_daemons_port_is_refused_though_the_rule_allows_it() -> None:
    async with upstream(echo) as port, opened("127.0.0.1", forbidden=lambda _address, asked: asked == port) as egress:
        assert await refused(egress, "127.0.0.1", port) == f"127.0.0.1 port {port} is the daemon's own"


async def test_a_page_that_asks_for_everything_is_noted_in_part() -> None:
    async with opened("reports.test") as egress:
        for n in (*range(MAX_NOTES + 20), 0, 0):
            async with ask(egress, f"h{n}.test", 80) as (_, reply):
                assert reply == NOT_ALLOWED
        assert len(egress.refusals) == MAX_NOTES
        assert egress.refusals[0].host == "h0.test"


# --- what fails ---------------------------------------------------------------------------------------------


async def test_what_can_not_be_connected_to() -> None:
    resolve(reports_test=[["127.0.0.1"]])
    # A port that nobody listens on, and that nobody else can get meanwhile.
    with std_socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await _can_not_be_connected_to(taken.getsockname()[1])


async def _can_not_be_connected_to(port: int) -> None:
    async with opened("127.0.0.1", "reports.test", "nowhere.test") as egress:
        for host, code, reason in (
            ("127.0.0.1", REFUSED, "127.0.0.1: Connection refused"),
            ("reports.test", REFUSED, "127.0.0.1: Connection refused"),
            ("nowhere.test", UNREACHABLE, "the name was not found: [Errno -2] Name or service not known"),
        ):
            async with ask(egress, host, port) as (_, reply):
                assert reply == code
            assert egress.failures[-1] == Failure(host, port, reason)
        assert egress.refusals == ()
        assert not egress.leave()


async def test_a_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.05)
    # A full backlog: further connections wait for ever.
    with std_socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = std_socket.socket()
            filler.setblocking(False)
            assert filler.connect_ex(("127.0.0.1", port)) == errno.EINPROGRESS
            fillers.append(filler)
        try:
            async with opened("127.0.0.1") as egress:
                async with ask(egress, "127.0.0.1", port) as (_, reply):
                    assert reply == UNREACHABLE
                assert egress.failures == (Failure("127.0.0.1", port, "127.0.0.1: no answer in 0.05 s"),)
        finally:
            for filler in fillers:
                filler.close()


async def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.05)

    class Never(Names):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.sleep_forever()

    trio.socket.set_custom_hostname_resolver(Never())
    async with opened("reports.test") as egress:
        async with ask(egress, "reports.test", 80) as (_, reply):
            assert reply == UNREACHABLE
        assert egress.failures == (Failure("reports.test", 80, "no connection in 0.05 s"),)


# --- how it ends --------------------------------------------------------------------------------------------


async def test_an_upstream_that_breaks_off_is_not_taken_for_one_that_has_ended() -> None:
    async def break_off(stream: trio.SocketStream) -> None:
        await stream.send_all(b"half")
        stream.setsockopt(std_socket.SOL_SOCKET, std_socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with (
        upstream(break_off) as port,
        opened("127.0.0.1") as egress,
        ask(egress, "127.0.0.1", port) as (client, _),
    ):
        assert await ending(client) == "reset"


async def test_a_browser_that_leaves_ends_its_upstream() -> None:
    ended = trio.Event()

    async def wait(stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some(1)
        finally:
            ended.set()

    async with upstream(wait) as port, opened("127.0.0.1") as egress:
        async with ask(egress, "127.0.0.1", port):
            pass
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()


async def test_an_upstream_that_nobody_reads_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 0.1)
    ended = trio.Event()

    async def say_nothing(stream: trio.SocketStream) -> None:
        assert await stream.receive_some(1) == b""
        await trio.sleep(0.2)
        try:
            while True:
                await stream.send_all(b"too late")
        finally:
            ended.set()

    async with upstream(say_nothing) as port, opened("127.0.0.1") as egress:
        async with ask(egress, "127.0.0.1", port) as (client, _):
            await client.send_eof()
            assert await ending(client) == "reset"
        with trio.fail_after(PATIENCE_SECONDS):
            await ended.wait()


async def test_a_job_that_loads_too_much_is_cut_off_and_told_once() -> None:
    told: list[str] = []

    async def pour(stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(bytes(65536))

    async with upstream(pour) as port, open_egress(lambda _address, _port: False) as egress:
        egress.use(NetworkRule.of(["127.0.0.1"]), 1_000_000, lambda: told.append("too much"))
        async with (
            ask(egress, "127.0.0.1", port) as (one, _),
            ask(egress, "127.0.0.1", port) as (two, _),
        ):
            assert await ending(one) == "reset"
            assert await ending(two) == "reset"
        assert egress.over_limit
        assert 1_000_000 < egress.bytes_received < 3_000_000
        assert told == ["too much"]
        assert await refused(egress, "127.0.0.1", port) == "more than 1000000 bytes came already"
        egress.use(NetworkRule.of(["127.0.0.1"]), 1_000_000, ignore)
        assert not egress.over_limit
        async with ask(egress, "127.0.0.1", port) as (_, reply):
            assert reply == SUCCEEDED


async def test_it_ends_with_its_block() -> None:
    async with upstream(echo) as port, AsyncExitStack() as clients:
        async with opened("127.0.0.1") as egress:
            client, _ = await clients.enter_async_context(ask(egress, "127.0.0.1", port))
        assert await ending(client) == "reset"
        with pytest.raises(OSError):  # noqa: PT011 - refused, however it is spelt
            await trio.open_tcp_stream("127.0.0.1", egress.port)


# --- the protocol -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "code"), [(2, NO_COMMAND), (3, NO_COMMAND), (9, NO_COMMAND)])
async def test_only_connecting_is_known(command: int, code: int) -> None:
    async with opened("127.0.0.1") as egress, ask(egress, "127.0.0.1", 80, command=command) as (_, reply):
        assert reply == code


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x01\x00\x04\x01\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x00"),
        (b"\x05\x01\x00\x05\x01\x00\x07", b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x09repo", b"\x05\x00"),
        (b"\x05", b""),
        (b"", b""),
    ],
)
async def test_what_is_no_request(sent: bytes, answer: bytes) -> None:
    async with opened("127.0.0.1") as egress:
        async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
            got = b""
            with suppress(trio.BrokenResourceError):
                await client.send_all(sent)
                await client.send_eof()
            with suppress(trio.BrokenResourceError):
                while data := await client.receive_some(4096):
                    got += data
            assert got == answer
        assert egress.refusals == ()


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.05)
    async with opened("127.0.0.1") as egress, await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
        assert await ending(client) == "end"


async def test_a_request_may_come_in_pieces_and_with_what_follows() -> None:
    async with upstream(echo) as port, opened("127.0.0.1") as egress:
        async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
            for byte in _request("127.0.0.1", port):
                await client.send_all(bytes([byte]))
                await trio.sleep(0.001)
            await client.send_all(b"more")
            assert (await exactly(client, 16))[12:] == b"more"
        async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
            await client.send_all(_request("127.0.0.1", port) + b"at once")
            assert (await exactly(client, 19))[12:] == b"at once"


async def test_a_fault_of_ours_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(echo) as port, opened("127.0.0.1") as egress:
        with monkeypatch.context() as broken:
            broken.setattr(module, "connect", None)
            async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
                await client.send_all(_request("127.0.0.1", port))
                assert await exactly(client, 2) == b"\x05\x00"
                assert await ending(client) == "end"
        async with ask(egress, "127.0.0.1", port) as (_, reply):
            assert reply == SUCCEEDED


# --- how much of it one page may have -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [MOST_PAGE_CONNECTIONS, 16])
async def test_a_page_that_opens_400_connections_gets_its_share(most: int) -> None:
    async with upstream(echo) as port, opened("127.0.0.1", most=most) as egress, AsyncExitStack() as stack:
        replies = [await stack.enter_async_context(ask(egress, "127.0.0.1", port)) for _ in range(400)]
        codes = [code for _, code in replies]
        assert codes == [SUCCEEDED] * most + [NOT_ALLOWED] * (400 - most)
        assert egress.refusals == (Refusal("127.0.0.1", port, f"the page has {most} connections already"),)
        # One that ends leaves its place to another.
        first, _ = replies[0]
        await first.send_eof()
        assert await ending(first) == "end"
        async with ask(egress, "127.0.0.1", port) as (client, code):
            assert code == SUCCEEDED
            await client.send_all(b"as ever")
            assert await exactly(client, 7) == b"as ever"
        egress.leave()
        egress.use(NetworkRule.of(["127.0.0.1"]), UNLIMITED, ignore)
        async with ask(egress, "127.0.0.1", port) as (_, code):
            assert code == SUCCEEDED


@pytest.mark.parametrize("most", [MOST_PAGE_CONNECTIONS, 16])
async def test_those_that_say_nothing_hold_few_descriptors_and_keep_nobody_out(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    handshakes = most // CONNECTIONS_PER_HANDSHAKE
    monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.5)
    async with upstream(echo) as port, opened("127.0.0.1", most=most) as egress, AsyncExitStack() as stack:
        for _ in range(3 * handshakes):
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", egress.port))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(egress._connections) == handshakes
        async with ask(egress, "127.0.0.1", port) as (_, code):
            assert code == SUCCEEDED


# --- no file descriptor left --------------------------------------------------------------------------------

SHORTAGE_SECONDS = 0.3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("own", [False, True])
async def test_a_host_is_not_unreachable_because_no_descriptor_is_left(host: str, *, own: bool) -> None:
    forbid = OwnPorts(lambda _address, _port: own).forbid
    async with upstream(echo) as port, opened(host, forbidden=forbid) as egress:
        async with await trio.open_tcp_stream("127.0.0.1", egress.port) as client:
            await client.send_all(_request(host, port)[:3])
            assert await exactly(client, 2) == b"\x05\x00"
            with none_left():
                await client.send_all(_request(host, port)[3:])
                with trio.move_on_after(SHORTAGE_SECONDS) as waiting:
                    await client.receive_some(1)
                assert waiting.cancelled_caught
            assert (await exactly(client, 10))[1] == (NOT_ALLOWED if own else SUCCEEDED)
        assert egress.failures == ()
        assert bool(egress.refusals) is own


async def test_a_connection_waits_to_be_accepted_while_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "CONNECTIONS_PER_HANDSHAKE", MOST_PAGE_CONNECTIONS
    )  # a place that was lost would be missed
    async with upstream(echo) as port, opened("127.0.0.1") as egress:
        with trio.socket.socket() as client:
            with none_left():
                await client.connect(("127.0.0.1", egress.port))
                await trio.sleep(SHORTAGE_SECONDS)
                assert not egress._connections
            async with trio.SocketStream(client) as stream:
                await stream.send_all(_request("127.0.0.1", port))
                assert (await exactly(stream, 12))[3] == SUCCEEDED


async def test_an_egress_waits_for_a_descriptor_to_listen_with() -> None:
    async with open_background() as nursery:
        opened_at: list[float] = []

        async def open_one() -> None:
            async with open_egress(lambda _address, _port: False):
                opened_at.append(trio.current_time())

        with none_left():
            nursery.start_soon(open_one)
            await trio.sleep(SHORTAGE_SECONDS)
            assert not opened_at
        with trio.fail_after(PATIENCE_SECONDS):
            while not opened_at:
                await trio.sleep(0.01)


async def test_lookups_that_nobody_wants_any_more_take_no_thread_that_others_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name server that does not answer blocks a thread until the system's resolver gives up."""
    given_up = Event()

    def never(*_: object) -> list[Any]:
        given_up.wait(20)
        return []

    monkeypatch.setattr(std_socket, "getaddrinfo", never)
    before = trio.to_thread.current_default_thread_limiter().borrowed_tokens
    resolver = LookupThreads()
    try:
        for _ in range(10):
            with trio.move_on_after(0.02):
                await resolver.getaddrinfo(b"slow.test", 80)
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == before
    finally:
        given_up.set()
