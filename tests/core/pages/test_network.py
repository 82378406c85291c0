"""Which hosts a page may reach, by name (I10): the entries, the report's own host, and their ports."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.pages.network import Address, HostPattern, NetworkRule, plain_address, url_origin, url_target
from tests.wording import mentions

unhurried = settings(deadline=None)

labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.ip_addresses().map(plain_address)
ports = st.integers(1, 65535)
patterns = st.builds(HostPattern, names, st.none() | ports, st.booleans()) | st.builds(
    HostPattern, addresses, st.none() | ports
)


def _rule(*entries: str) -> NetworkRule:
    return NetworkRule.of(entries)


# --- the host of the report's own URL -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "open_ports"),
    [
        ("https://reports.internal/render?params={params}", "reports.internal", {80, 443}),
        ("http://reports.internal", "reports.internal", {80, 443}),
        ("HTTPS://Reports.Internal./", "reports.internal", {80, 443}),
        ("https://reports.internal:8443/", "reports.internal", {8443}),
        ("https://user:word@reports.internal/", "reports.internal", {80, 443}),
        ("http://localhost:3000/{taskId}", "localhost", {3000}),
        ("http://10.0.0.5:8000/", "10.0.0.5", {8000}),
        ("http://[::1]:8000/", "::1", {8000}),
        ("https://bücher.example/", "xn--bcher-kva.example", {80, 443}),
    ],
)
def test_own_host_is_allowed_at_the_ports_of_its_url(url: str, host: str, open_ports: set[int]) -> None:
    rule = NetworkRule.of([], url)
    tried = {80, 443, 3000, 5432, 8000, 8080, 8443}
    assert {port for port in tried if rule.may_name(host, port).allowed} == open_ports
    assert not rule.may_name(f"sub.{host}", 443).allowed


def test_without_url_only_the_entries_are_allowed() -> None:
    assert _rule().patterns == frozenset()
    assert not _rule().may_name("reports.internal", 443).allowed


@pytest.mark.parametrize(
    "url",
    [
        "reports.internal",
        "//reports.internal/",
        "ftp://reports.internal/",
        "file:///etc/passwd",
        "data:text/html,x",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://:443/",
        "https://[",
        "https://[fe80::1%25eth0]/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://*.example.com/",
        "https://reports.internal:99999/",
        "https://reports.internal:x/",
        "https://rep orts/",
        "https://%72eports/",
    ],
)
def test_an_invalid_report_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not a report's URL"):
        NetworkRule.of([], url)


# --- by name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("reports.internal", "reports.internal", 443, True),
        ("reports.internal", "REPORTS.internal.", 8080, True),
        ("reports.internal", "sub.reports.internal", 443, False),
        ("reports.internal", "internal", 443, False),
        ("reports.internal", "xreports.internal", 443, False),
        ("reports.internal", "reports.internal.evil.example", 443, False),
        ("reports.internal:443", "reports.internal", 443, True),
        ("reports.internal:443", "reports.internal", 80, False),
        ("*.example.com", "cdn.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 80, True),
        ("*.example.com", "CDN.Example.COM.", 80, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("*.example.com", "evil-example.com", 443, False),
        ("*.example.com", "example.com.evil.example", 443, False),
        ("*.example.com:443", "cdn.example.com", 443, True),
        ("*.example.com:443", "cdn.example.com", 80, False),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("xn--bcher-kva.example", "bücher.example", 443, True),
        ("*.bücher.example", "a.xn--bcher-kva.example", 443, True),
        ("bücher.example", "bucher.example", 443, False),
        ("10.0.0.5", "10.0.0.5", 443, True),
        ("10.0.0.5", "::ffff:10.0.0.5", 443, True),
        ("10.0.0.5", "[::ffff:a00:5]", 443, True),
        ("10.0.0.5", "10.0.0.6", 443, False),
        ("10.0.0.5", "64:ff9b::10.0.0.5", 443, False),
        ("10.0.0.5", "167772165", 443, False),
        ("10.0.0.5", "0xa.5", 443, False),
        ("10.0.0.5:80", "10.0.0.5", 443, False),
        ("[::1]", "::1", 443, True),
        ("[::1]", "[0:0::0:1]", 443, True),
        ("[::1]", "127.0.0.1", 443, False),
        ("localhost", "127.0.0.1", 443, False),
        ("localhost", "::1", 443, False),
    ],
)
def test_by_name(entry: str, host: str, port: int, *, allowed: bool) -> None:
    decision = _rule(entry).may_name(host, port)
    assert decision.allowed is allowed
    assert decision.reason


def test_reasons_say_what_to_change() -> None:
    rule = _rule("reports.internal:443", "*.example.com")
    assert rule.may_name("A.example.com", 80).reason == "allowed by *.example.com"
    assert mentions(rule.may_name("reports.internal", 80).reason, "reports.internal", "port 80")
    assert mentions(rule.may_name("other.internal", 80).reason, "other.internal", "not", "allowed hosts")
    assert mentions(rule.may_name("[::ffff:10.0.0.5]", 80).reason, "10.0.0.5", "IP address", "allowed_hosts")


def test_any_entry_may_open_a_port() -> None:
    rule = _rule("reports.internal:443", "reports.internal:8443", "*.internal:80")
    opened = [port for port in (80, 443, 8080, 8443) if rule.may_name("reports.internal", port).allowed]
    assert opened == [80, 443, 8443]


@unhurried
@given(patterns, st.sampled_from(["", "x", "x-", "x.", "x.y."]), st.sampled_from(["", "x", ".x"]), ports)
def test_an_entry_does_not_open_similar_names(pattern: HostPattern, before: str, behind: str, port: int) -> None:
    name = f"{before}{pattern.host}{behind}"
    labels, entry = name.split("."), str(pattern.host).split(".")
    below = len(labels) > len(entry) and labels[-len(entry) :] == entry
    meant = below if pattern.wildcard else labels == entry
    opened = NetworkRule(frozenset({pattern})).may_name(name, port).allowed
    assert opened is (meant and pattern.port in (None, port))


@unhurried
@given(names, addresses, ports)
def test_an_entry_with_a_port_opens_that_port(name: str, address: Address, port: int) -> None:
    assert NetworkRule(frozenset({HostPattern(name, port)})).may_name(name, port).allowed
    assert NetworkRule(frozenset({HostPattern(name, port, wildcard=True)})).may_name(f"x.{name}", port).allowed
    assert NetworkRule(frozenset({HostPattern(address, port)})).may_name(str(address), port).allowed


# --- where a URL leads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://app.example/hook", ("app.example", 443)),
        ("HTTP://App.Example", ("app.example", 80)),
        ("http://ada:word@[::1]:8080/?a#b", ("::1", 8080)),
    ],
)
def test_host_and_port_of_a_url(url: str, target: tuple[str, int]) -> None:
    assert url_target(url) == target


@pytest.mark.parametrize("url", ["", "app.example", "ftp://a/", "https:///a", "https://a:99999/", "https://[::1/"])
def test_urls_without_a_target(url: str) -> None:
    with pytest.raises(ValueError, match="absolute http or https URL"):
        url_target(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Reports.internal/render?params={params}#x", "https://reports.internal"),
        ("https://reports.internal:443/", "https://reports.internal"),
        ("http://reports.internal:443/", "http://reports.internal:443"),
        ("http://user:pw@reports.internal.:8080/", "http://reports.internal.:8080"),
        ("http://bücher.example/", "http://xn--bcher-kva.example"),
        ("http://10.0.0.5/", "http://10.0.0.5"),
        ("http://[0:0::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    assert url_origin(url) == origin
