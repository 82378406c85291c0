"""URLs of Redis, Sentinel and clusters: what the configuration accepts, and what the adapter reads from them."""

import pytest
from pydantic import ValidationError

from reportd.adapters.redis.address import parse
from reportd.config.models import Breaker


@pytest.mark.parametrize(
    ("url", "hosts", "name", "database", "tls", "credentials"),
    [
        ("redis://a", ["a:6379"], "", 0, False, (None, None)),
        ("rediss://u:p%40%2C@a:1/3", ["a:1"], "", 3, True, ("u", "p@,")),
        ("redis://:p,q@a:1,b,[::1]:2", ["a:1", "b:6379", "::1:2"], "", 0, False, (None, "p,q")),
        ("redis+sentinel://a,b:2/main", ["a:26379", "b:2"], "main", 0, False, (None, None)),
        ("rediss+sentinel://:p@a/my.main_1/5", ["a:26379"], "my.main_1", 5, True, (None, "p")),
    ],
)
def test_what_a_url_means(
    url: str, hosts: list[str], name: str, database: int, tls: bool, credentials: tuple[str | None, str | None]
) -> None:
    assert Breaker(store=url).store == url
    address = parse(url)
    assert [str(host) for host in address.hosts] == hosts
    assert (address.primary_name, address.database, address.tls) == (name, database, tls)
    assert (address.username, address.password) == credentials
    assert "p@" not in repr(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://a:1,", "has no host"),
        ("redis://a:1,b:x", "has a host or port that can't be read"),
        ("redis://a:1,b:0", "has port 0"),
        ("redis://a:1/0,b:1/0", "more than a database number"),
        ("redis+sentinel://a:1", "primary"),
        ("redis+sentinel://a:1/", "primary"),
        ("redis+sentinel://a:1/main/x", "primary"),
        ("sentinel://a/main", "does not begin with redis:// or rediss:// or redis\\+sentinel://"),
        ("redis://a?db=1", "has a \\? or #"),
    ],
)
def test_what_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Breaker(store=url)
