"""Which addresses an allowed name may resolve to (I10), and attempts to get around that."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.pages.network import Address, NetworkRule, parse_host_pattern, plain_address

unhurried = settings(deadline=None)
ANY = "0.0.0.0"  # noqa: S104 - an address to judge, not to bind to


def _rule(*entries: str) -> NetworkRule:
    return NetworkRule.of(entries)


def _may_resolve(entry: str, host: str, address: str | Address, port: int = 443) -> bool:
    return _rule(entry).may_address(host, port, address).allowed


PUBLIC = [
    "93.184.215.14",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "2606:2800:21f:cb07::1",
    "2a00:1450:4001::1",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.5",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.254",
    "192.0.0.9",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "192.88.99.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "2001::1",
    "2001:0:a9fe:a9fe::1",
    "5f00::1",
    "4000::1",
    "64:ff9b:1::808:808",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%2",
    "febf:ffff::1",
    ANY,
    "0.1.2.3",
    "::",
    "::2",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "ff0e::1",
    "240.0.0.1",
    "255.255.255.255",
]
NEVER_LITERALS = [address for address in NEVER if "%" not in address]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open_to_every_allowed_name(address: str) -> None:
    assert _may_resolve("*.example.com", "cdn.example.com", address)
    assert _may_resolve("cdn.example.com", "cdn.example.com", address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_open_to_exact_names_only(address: str) -> None:
    decision = _rule("*.example.com").may_address("cdn.example.com", 443, address)
    assert not decision.allowed
    assert "a wildcard allows public only" in decision.reason
    assert _may_resolve("cdn.example.com", "cdn.example.com", address)
    assert _rule("*.example.com", "cdn.example.com").may_address("CDN.example.com.", 443, address).allowed


def test_an_exact_name_is_exact_at_its_own_port_only() -> None:
    rule = _rule("*.example.com", "cdn.example.com:8443")
    assert rule.may_address("cdn.example.com", 8443, "10.0.0.5").allowed
    assert not rule.may_address("cdn.example.com", 443, "10.0.0.5").allowed
    assert rule.may_address("cdn.example.com", 443, "8.8.8.8").allowed


@pytest.mark.parametrize("address", NEVER)
def test_no_name_reaches_these_addresses(address: str) -> None:
    assert not _may_resolve("*.example.com", "cdn.example.com", address)
    decision = _rule("cdn.example.com").may_address("cdn.example.com", 443, address)
    assert not decision.allowed
    shown = str(plain_address(ip_address(address)))
    assert decision.reason.startswith(f"cdn.example.com resolves to {shown}, a ")


@pytest.mark.parametrize("address", NEVER_LITERALS)
def test_listed_addresses_are_reachable(address: str) -> None:
    entry = f"[{address}]" if ":" in address else address
    assert _rule("cdn.example.com", entry).may_address("cdn.example.com", 80, address).allowed
    assert _rule("cdn.example.com", f"{entry}:80").may_address("cdn.example.com", 80, address).allowed
    assert not _rule("cdn.example.com", f"{entry}:80").may_address("cdn.example.com", 443, address).allowed
    other = "[fe80::dead]" if ":" in address else "169.254.13.13"
    assert not _rule("cdn.example.com", other).may_address("cdn.example.com", 80, address).allowed


@pytest.mark.parametrize("address", PRIVATE + NEVER_LITERALS)
def test_a_listed_address_is_not_open_to_names_under_a_wildcard(address: str) -> None:
    entry = f"[{address}]" if ":" in address else address
    assert not _rule("*.example.com", entry).may_address("cdn.example.com", 443, address).allowed


@pytest.mark.parametrize("address", PUBLIC + PRIVATE + NEVER_LITERALS)
def test_a_literal_is_reached_if_it_is_listed_and_only_itself(address: str) -> None:
    entry = f"[{address}]" if ":" in address else address
    assert not _rule("*.example.com", "localhost").may_address(address, 80, address).allowed
    assert _rule(entry).may_address(address, 80, address).allowed
    assert not _rule(entry).may_address(address, 80, "203.0.113.99").allowed
    assert not _rule(f"{entry}:443").may_address(address, 80, address).allowed


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        ("link-local", ["169.254.169.254", "fe80::1", "::ffff:169.254.1.1"]),
        ("cloud metadata", ["100.100.100.200", "fd00:ec2::254"]),
        ("multicast", ["224.0.0.1", "ff02::1"]),
        ("unspecified", [ANY, "::"]),
        ("broadcast or reserved", ["255.255.255.255", "240.0.0.1"]),
    ],
)
def test_the_reason_says_what_is_wrong_with_the_address(kind: str, addresses: list[str]) -> None:
    for address in addresses:
        assert kind in _rule("a.b").may_address("a.b", 443, address).reason


def test_addresses_may_come_as_text_or_as_values() -> None:
    rule = _rule("a.b")
    for text in ("10.0.0.5", "fe80::1", "::ffff:10.0.0.5"):
        assert rule.may_address("a.b", 443, text) == rule.may_address("a.b", 443, ip_address(text))


# --- IPv4 inside IPv6 ---------------------------------------------------------------------------------------

EMBEDDINGS = {
    "IPv4-mapped": lambda v4: (0xFFFF << 32) | v4,
    "NAT64": lambda v4: int(IPv6Address("64:ff9b::")) | v4,
    "SIIT": lambda v4: (0xFFFF << 48) | v4,
    "IPv4-compatible": lambda v4: v4,
    "6to4": lambda v4: (0x2002 << 112) | (v4 << 80),
    "6to4 with more behind it": lambda v4: (0x2002 << 112) | (v4 << 80) | 0x1_0808_0808,
}
telling = [int(IPv4Address(text)) for text in PUBLIC + PRIVATE + NEVER if ":" not in text]


@pytest.mark.parametrize("how", EMBEDDINGS)
@unhurried
@given(v4=st.integers(2, 2**32 - 1) | st.sampled_from([v4 for v4 in telling if v4 > 1]))
def test_ipv4_inside_ipv6_is_judged_as_what_it_delivers_to(how: str, v4: int) -> None:
    inner, outer = IPv4Address(v4), IPv6Address(EMBEDDINGS[how](v4))
    for entry in ("a.example.com", "*.example.com"):
        assert _may_resolve(entry, "a.example.com", outer) is _may_resolve(entry, "a.example.com", inner)


def test_the_lowest_two_addresses_are_no_embedding() -> None:
    assert _may_resolve("localhost", "localhost", "::1")
    assert not _may_resolve("localhost", "localhost", "::")
    assert plain_address(IPv6Address("::1")) == IPv6Address("::1")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("::ffff:0.0.0.0", ANY),
        ("fe80::1%eth0", "fe80::1"),
        ("64:ff9b::a00:5", "64:ff9b::a00:5"),
    ],
)
def test_plain_address_is_what_the_system_connects_to(address: str, plain: str) -> None:
    assert str(plain_address(ip_address(address))) == plain


# --- both questions -----------------------------------------------------------------------------------------

few_names = st.sampled_from(["a.b", "x.a.b", "y.x.a.b", "b", "xa.b", "10.0.0.5", "::1", "0xa.5", "A.B."])
few_addresses = st.sampled_from(PUBLIC + PRIVATE + NEVER) | st.ip_addresses().map(str)
few_ports = st.sampled_from([80, 443, 8080])
rules = st.lists(
    st.sampled_from(["a.b", "*.a.b", "*.b", "a.b:80", "*.a.b:443", "10.0.0.5", "[::1]:80", "169.254.169.254"])
).map(NetworkRule.of)


@unhurried
@given(rules, few_names, few_ports, few_addresses)
def test_no_address_opens_what_the_name_does_not(rule: NetworkRule, host: str, port: int, address: str) -> None:
    if rule.may_address(host, port, address).allowed:
        assert rule.may_name(host, port).allowed


@unhurried
@given(rules, few_names, few_ports, few_addresses, st.sampled_from(["c.d", "*.x.a.b:8080", "10.0.0.6"]))
def test_another_entry_never_forbids_anything(rule: NetworkRule, host: str, port: int, address: str, more: str) -> None:
    wider = NetworkRule(rule.patterns | {parse_host_pattern(more)})
    if rule.may_address(host, port, address).allowed:
        assert wider.may_address(host, port, address).allowed


@unhurried
@given(few_addresses | st.ip_addresses(v=6, network="::/64").map(str))
def test_a_wildcard_reaches_nothing_that_is_not_global(address: str) -> None:
    """Compare with the standard library's copy of the registries."""
    if _may_resolve("*.a.b", "x.a.b", address):
        target = plain_address(ip_address(address))
        wrong = (target.is_private, target.is_loopback, target.is_link_local, target.is_multicast)
        assert wrong == (False, False, False, False)
        assert not target.is_unspecified
