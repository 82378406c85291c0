"""How hosts may be written, in requests of a page and in ``allowed_hosts`` (I10)."""

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportd.core.pages.network import Address, HostPattern, NetworkRule, normal_host, parse_host_pattern, plain_address

unhurried = settings(deadline=None)

ANY = "0.0.0.0"  # noqa: S104 - an address to judge, not to bind to

# Characters that separate hosts or have fooled parsers: foreign digits, other full stops, invisible characters.
HOSTILE = "0123456789abcdefxXnN.:[]%-_*@/ \n\0\u3002\uff0e\uff11\u0661\u00e9\u00df\u200d\u00ad\u05d0\u0131\u212a\ud800"
host_texts = (
    st.text(st.sampled_from(HOSTILE), max_size=40)
    | st.text(st.characters(exclude_categories=()), max_size=40)
    | st.text(st.sampled_from("0123456789xf."), max_size=20)
    | st.text(st.sampled_from("0123456789abcdef:.%"), max_size=45)
    | st.text(st.sampled_from(HOSTILE), max_size=10).map(lambda text: f"xn--{text}.example")
)
labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.ip_addresses().map(plain_address)
ports = st.integers(1, 65535)
patterns = st.builds(HostPattern, names, st.none() | ports, st.booleans()) | st.builds(
    HostPattern, addresses, st.none() | ports
)


def _rule(*entries: str) -> NetworkRule:
    return NetworkRule.of(entries)


# --- spellings of a host ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("reports.internal", "reports.internal"),
        ("REPORTS.Internal", "reports.internal"),
        ("reports.internal.", "reports.internal"),
        ("localhost", "localhost"),
        ("my_host.internal", "my_host.internal"),
        ("a--b.c", "a--b.c"),
        ("1e3", "1e3"),
        ("0xg", "0xg"),
        ("1.2.3.4.com", "1.2.3.4.com"),
        ("x" * 63 + ".c", "x" * 63 + ".c"),
        (".".join(["x" * 49] * 5) + ".abc", ".".join(["x" * 49] * 5) + ".abc"),  # 253 characters
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),  # not "fass": browsers go by UTS 46, non-transitional
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("a\N{IDEOGRAPHIC FULL STOP}b", "a.b"),
        ("a\N{SOFT HYPHEN}b.c", "ab.c"),
        ("\N{KELVIN SIGN}.com", "k.com"),
        ("\N{LATIN SMALL LIGATURE FF}.com", "ff.com"),
        ("127.0.0.1", IPv4Address("127.0.0.1")),
        (ANY, IPv4Address(ANY)),
        ("::1", IPv6Address("::1")),
        ("[::1]", IPv6Address("::1")),
        ("[2001:DB8:0:0::1]", IPv6Address("2001:db8::1")),
        ("::ffff:10.0.0.5", IPv4Address("10.0.0.5")),
        ("[::ffff:a00:5]", IPv4Address("10.0.0.5")),
        ("64:ff9b::10.0.0.5", IPv6Address("64:ff9b::a00:5")),
    ],
)
def test_one_spelling_of_each_host(text: str, normal: str | Address) -> None:
    assert normal_host(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        # IPv4 as only a resolver reads it
        "0x7f.1",
        "0X7F.0.0.1",
        "0x7f000001",
        "0x",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "1.2.3.256",
        "999999999999.1.1.1",
        "reports.internal.0x7f",
        "reports.internal.1",
        "\N{FULLWIDTH DIGIT ONE}27.0.0.1",
        "127\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}1",
        "\N{ARABIC-INDIC DIGIT ONE}.\N{ARABIC-INDIC DIGIT ONE}",
        # IPv6 that names an interface, or is none
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "::1%lo",
        ":::",
        "[::1",
        "::1]",
        "[[::1]]",
        "1:2:3:4:5:6:7:8:9",
        "::ffff:0x7f.1",
        # more than a host
        "reports.internal:443",
        "10.0.0.5:443",
        "[::1]:443",
        "user@reports.internal",
        "reports.internal/path",
        "https://reports.internal",
        "*.internal",
        "*",
        # no names
        "",
        ".",
        "..",
        "[]",
        "[reports.internal]",
        "reports..internal",
        ".internal",
        "reports.internal..",
        "-a.internal",
        "a-.internal",
        "x" * 64 + ".c",
        ".".join(["x" * 49] * 5) + ".abcd",  # 254 characters
        "rep orts",
        " reports",
        "reports\n",
        "reports\0",
        "%72eports.internal",
        "a\\b",
        "\N{ZERO WIDTH JOINER}.com",
        "\N{SNOWMAN}.net",
        "xn--é.com",
        "\ud800.com",
    ],
)
def test_invalid_hosts_and_unusual_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|is neither|has a zone") as caught:
        normal_host(text)
    assert str(caught.value).isascii()
    for rule in (_rule("reports.internal", "*.internal", "127.0.0.1", "10.0.0.5", "[::1]"), _rule("*.com", "*.c")):
        assert not rule.may_name(text, 443).allowed


@unhurried
@given(host_texts)
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    for parse in (normal_host, parse_host_pattern, lambda host: NetworkRule.of([], f"https://{host}/")):
        try:
            parse(text)
        except ValueError:
            continue
    assert isinstance(_rule("*.example").may_name(text, 443).allowed, bool)


@unhurried
@given(host_texts)
def test_a_normal_host_stays_the_same(text: str) -> None:
    try:
        normal = normal_host(text)
    except ValueError:
        return
    assert normal_host(str(normal)) == normal


@unhurried
@given(host_texts | st.integers(0, 2**32 - 1).map(hex) | st.integers(0, 2**32 - 1).map(str))
def test_no_name_is_an_address_to_the_system(text: str) -> None:
    """A text that the C library reads as IPv4 must not pass as a name: it is connected to without resolving."""
    try:
        normal = normal_host(text)
    except ValueError:
        return
    if isinstance(normal, str):
        assert normal == normal.lower()
        assert normal.isascii()
        with pytest.raises(OSError, match="illegal IP address"):
            socket.inet_aton(normal)


def test_a_refusal_shows_little_of_a_long_host() -> None:
    reason = _rule("a.b").may_name("\n" + "x" * 100_000, 443).reason
    assert len(reason) < 400
    assert "\n" not in reason


# --- entries of allowed_hosts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "pattern"),
    [
        ("reports.internal", HostPattern("reports.internal")),
        ("Reports.Internal.", HostPattern("reports.internal")),
        ("reports.internal:8443", HostPattern("reports.internal", 8443)),
        ("reports.internal:65535", HostPattern("reports.internal", 65535)),
        ("reports.internal:1", HostPattern("reports.internal", 1)),
        ("*.example.com", HostPattern("example.com", None, wildcard=True)),
        ("*.example.com:443", HostPattern("example.com", 443, wildcard=True)),
        ("*.bücher.example", HostPattern("xn--bcher-kva.example", None, wildcard=True)),
        ("10.0.0.5", HostPattern(IPv4Address("10.0.0.5"))),
        ("10.0.0.5:80", HostPattern(IPv4Address("10.0.0.5"), 80)),
        ("[::1]", HostPattern(IPv6Address("::1"))),
        ("[::1]:80", HostPattern(IPv6Address("::1"), 80)),
        ("[::ffff:10.0.0.5]", HostPattern(IPv4Address("10.0.0.5"))),
    ],
)
def test_entries(entry: str, pattern: HostPattern) -> None:
    assert parse_host_pattern(entry) == pattern


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "*",
        "*.",
        "*.*.example.com",
        "*example.com",
        "a.*",
        "a.*.example.com",
        "*.10.0.0.5",
        "*.[::1]",
        "*.1",
        "0x7f.1",
        "::1",
        "2001:db8::1",
        "2001:db8::1:443",  # an address, or an address and its port?
        "[fe80::1%eth0]",
        "[::1",
        "[::1]x",
        "[::1]x:80",
        ":80",
        "a:",
        "a:0",
        "a:65536",
        "a:+1",
        "a:-1",
        "a: 1",
        "a:1_0",
        "a:\N{ARABIC-INDIC DIGIT ONE}",
        "a:000080",
        "a:80:80",
        "https://reports.internal",
        "reports.internal/",
        "10.0.0.0/8",
        "a ",
        "a,b",
    ],
)
def test_an_invalid_entry_is_refused_with_what_is_accepted(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host: .*accepted: a name") as caught:
        parse_host_pattern(entry)
    assert str(caught.value).startswith(repr(entry))
    with pytest.raises(ValueError, match="is not a host"):
        NetworkRule.of(["reports.internal", entry])


@unhurried
@given(patterns)
def test_an_entry_is_shown_in_the_form_it_is_written(pattern: HostPattern) -> None:
    assert parse_host_pattern(str(pattern)) == pattern


def test_rules_of_the_same_entries_are_equal() -> None:
    first = NetworkRule.of(["a.b", "*.c.d:443", "10.0.0.5"], "https://reports.internal/x")
    second = NetworkRule.of(["10.0.0.5", "*.C.D.:443", "A.B.", "a.b"], "http://Reports.Internal/y?z")
    assert first == second
    assert hash(first) == hash(second)
    assert first != NetworkRule.of(["a.b", "*.c.d", "10.0.0.5"], "https://reports.internal/x")
