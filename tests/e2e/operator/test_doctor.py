"""``reportd doctor`` tries every part that the configuration names, and says what to do about each."""

from pathlib import Path

import pytest

from reportd.cli.doctor import _authorities, _remote_checks, _run_check
from reportd.config import Alerts, Breaker, Callbacks, Config, ReportType
from reportd.config.models import Pool, Scaling
from tests.servers.authority import Authority
from tests.servers.ports import free_port


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")


def named(part: str) -> Config:
    gone = f"127.0.0.1:{free_port()}"
    return {
        "breakers": Config(breaker=Breaker(store=f"redis://{gone}/0")),
        "alerts": Config(alerts=Alerts(webhook_url=f"http://{gone}/secret", slack_url=f"http://{gone}/secret")),
        "callbacks": Config(
            callbacks=Callbacks(allowed_hosts=(gone,)),
            reports={"page": ReportType(url="https://page.test/", callback_url=f"http://{gone}/secret")},
        ),
        "cloudwatch": Config(
            scaling=Scaling(cloudwatch_namespace="Reports", region="eu-central-1", endpoint_url=f"http://{gone}")
        ),
    }[part]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("breakers", "can't be reached"),
        ("alerts", "alerts.slack_url: no answer from its host (ConnectError): check host"),
        ("callbacks", "reports.page.callback_url: no answer from its host"),
        ("cloudwatch", "can't be reached: check the network, endpoint_url and region"),
    ],
)
async def test_each_part_that_is_named_is_tried(part: str, words: str) -> None:
    config = named(part)
    name, well, text = await _run_check(part, _remote_checks(config)[part], config)
    assert (name, well) == (part, False)
    assert words in text
    assert "secret" not in text


def test_the_authorities_are_counted(tmp_path: Path) -> None:
    file = Authority(tmp_path).file
    assert list(_authorities(Config(pool=Pool(ca_file=str(file))))) == [("authorities", True, f"1 in {file}")]
    assert list(_authorities(Config())) == []


def test_what_is_not_named_is_not_tried() -> None:
    assert set(_remote_checks(Config())) == {"database", "queue", "artifacts"}


async def test_a_check_that_fails_unexpectedly_hides_no_other() -> None:
    async def check(_: Config) -> list[str]:
        raise KeyError("region")

    assert await _run_check("queue", check, Config()) == ("queue", False, "the check failed: KeyError: 'region'")
