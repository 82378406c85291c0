"""What the configuration's keys become, where that is more than opening a URL."""

import pytest

from reportd.adapters.redis import RedisBreakers
from reportd.app import backends, policies
from reportd.config import Breaker, Config, Pool, QueueOptions
from reportd.config.report_types import ReportType
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.breaker.window import Rates
from reportd.system import file_limit


def test_without_configuration_breakers_have_the_defaults_of_the_core() -> None:
    assert policies.breaker_policy(Config()) == BreakerPolicy()


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
    assert policies.breaker_policy(Config(breaker=options)) == BreakerPolicy(4, 11.0, 301.0, 2, rates)


async def test_fleets_of_one_redis_are_kept_apart() -> None:
    config = Config(breaker=Breaker(store="redis://127.0.0.1:1/0", namespace="fleet:a"))
    async with backends.open_breaker_store(config) as store:
        assert isinstance(store, RedisBreakers)
        assert store._group == "fleet:a:breaker"


def test_a_single_queue_of_sqs_tells_no_types_apart() -> None:
    queue = QueueOptions(url="https://sqs.test/1/main", dead_letter_url="https://sqs.test/1/dead")
    own = ReportType(url="https://x.test/", queue_url="https://sqs.test/1/own")
    assert policies.tells_types(Config())
    assert not policies.tells_types(Config(queue=queue))
    assert policies.tells_types(Config(queue=queue, reports={"own": own}))


def test_pages_and_clients_share_the_files_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(pool=Pool(browsers=1, pages_per_browser=2, max_stalled=2))
    monkeypatch.setattr(file_limit, "limit", lambda: 1024)
    assert policies.max_connections(config) == 224
    assert policies.chromium_settings(config).page_connections == 49
    monkeypatch.setattr(file_limit, "limit", lambda: 524288)
    assert policies.max_connections(config) == 4096
    assert policies.chromium_settings(config).page_connections == 256
