"""What the configuration's keys become, where that is more than opening a URL."""

from reportd import engines
from reportd.adapters.redis import RedisBreakers
from reportd.config import Breaker, Config
from reportd.core.breaker import Policy
from reportd.core.window import Rates


def test_without_configuration_breakers_have_the_defaults_of_the_core() -> None:
    assert engines.breaker_policy(Config()) == Policy()


def test_every_key_of_a_breaker_arrives() -> None:
    options = Breaker(
        failure_threshold=4,
        recovery_seconds=11.0,
        max_recovery_seconds=301.0,
        successes_to_close=2,
        failure_rate=0.5,
        slow_rate=0.25,
        slow_seconds=20.0,
        window_size=40,
        window_seconds=90.0,
        minimum_volume=20,
    )
    rates = Rates(failed=0.5, slow=0.25, slow_seconds=20.0, size=40, seconds=90.0, minimum=20)
    assert engines.breaker_policy(Config(breaker=options)) == Policy(4, 11.0, 301.0, 2, rates)


async def test_fleets_of_one_redis_are_kept_apart() -> None:
    config = Config(breaker=Breaker(store="redis://127.0.0.1:1/0", namespace="fleet:a"))
    async with engines.open_breaker_store(config) as store:
        assert isinstance(store, RedisBreakers)
        assert store._key("sales") == "fleet:a:breaker:sales"
