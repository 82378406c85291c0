"""Secrets are used, never shown: not in repr, str or ``redacted``, and no value is repeated in an error."""

import json
import traceback
from pathlib import Path
from pprint import pformat

import pytest
from pydantic import ValidationError

from reportd.config import Alerts, ConfigError, load
from reportd.config.environment import name_of
from reportd.config.keys import field_at, leaves
from reportd.config.section import is_secret, mask_url

HOME = {"HOME": "/home/ada"}
WORD = "hunter2"
SIGNING = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="

CONFIGURATION = f"""
[database]
url = "postgresql://reportd:{WORD}@db/reportd?sslpassword={WORD}"
[breaker]
store = "redis://:{WORD}@redis:6379/0"
[queue]
url = "https://key:{WORD}@sqs.test/1/reports?X-Amz-Signature={WORD}"
dead_letter_url = "https://sqs.test/1/dead?token={WORD}"
[alerts]
webhook_url = "https://alerts.test/{WORD}"
slack_url = "https://hooks.slack.test/services/{WORD}"
[callbacks]
allowed_hosts = ["app.test:8443"]
secret = "{SIGNING}"
[reports.quarterly]
url = "https://ada:{WORD}@app.test/render?api_key={WORD}&params={{params}}"
headers = {{Authorization = "Bearer {WORD}"}}
cookies = {{session = "{WORD}"}}
callback_url = "https://ada:{WORD}@app.test:8443/{WORD}?{WORD}#{WORD}"
"""


def test_secrets_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(CONFIGURATION)
    config = load(file, HOME)
    report = config.reports["quarterly"]
    assert config.alerts.webhook_url == f"https://alerts.test/{WORD}"
    assert config.alerts.slack_url == f"https://hooks.slack.test/services/{WORD}"
    assert config.callbacks.secret == SIGNING
    assert WORD in config.database.url
    assert report.headers == {"Authorization": f"Bearer {WORD}"}
    assert report.cookies == {"session": WORD}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(CONFIGURATION)
    config = load(file, HOME)
    report = config.reports["quarterly"]
    everything = (config, report, dict(config.reports), config.database, config.alerts, config.callbacks, config.queue)
    for value in everything:
        for text in (repr(value), str(value), f"{value}", pformat(value)):
            assert WORD not in text
            assert SIGNING not in text
    shown = json.dumps(config.redacted())
    assert WORD not in shown
    assert SIGNING not in shown


def test_names_of_secret_keys_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(CONFIGURATION)
    shown = load(file, HOME).redacted()
    assert shown["alerts"]["webhook_url"] == "https://alerts.test/***"
    assert shown["alerts"]["slack_url"] == "https://hooks.slack.test/***"
    assert shown["callbacks"]["secret"] == "***"
    assert shown["database"]["url"] == "postgresql://reportd:***@db/reportd?sslpassword=***"
    assert shown["breaker"]["store"] == "redis://:***@redis:6379/0"
    report = shown["reports"]["quarterly"]
    assert report["url"] == "https://ada:***@app.test/render?api_key=***&params={params}"
    assert report["callback_url"] == "https://app.test:8443/***"
    assert (report["headers"], report["cookies"]) == ({"Authorization": "***"}, {"session": "***"})
    assert load(None, HOME).redacted()["callbacks"]["secret"] == "", "that a secret is missing is no secret"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://app.test/a?b=c", "https://app.test/a?b=c"),
        ("https://ada@app.test/", "https://ada@app.test/"),
        ("https://ada:x@app.test/", "https://ada:***@app.test/"),
        ("redis://:p@ss@redis/0", "redis://:***@redis/0"),
        (
            "https://app.test/?a=1&ACCESS_TOKEN=x&b=2;sig=y#key=z",
            "https://app.test/?a=1&ACCESS_TOKEN=***&b=2;sig=***#key=***",
        ),
        ("https://app.test/?token=x;y&b=2", "https://app.test/?token=***&b=2"),
        ("https://app.test/#token=x", "https://app.test/#token=***"),
        ("https://app.test/?password=", "https://app.test/?password=***"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def test_which_keys_are_secret() -> None:
    keys = {".".join(leaf): field_at(leaf) for leaf in (*leaves(), *leaves(("reports", "NAME")))}
    assert {key for key, field in keys.items() if field is not None and is_secret(field)} == {
        "alerts.webhook_url",
        "alerts.slack_url",
        "callbacks.secret",
        "reports.NAME.callback_url",
        "reports.NAME.headers",
        "reports.NAME.cookies",
    }


# Errors


def error_of(file: Path | None, environ: dict[str, str]) -> str:
    """Return everything a log would hold of the error; empty when there is none."""
    try:
        load(file, environ)
    except ConfigError as error:
        return "".join(traceback.format_exception(error))
    return ""


VALUES = [
    f'"{WORD}"',
    f'"https://ada:{WORD}@app..test:99999/"',
    f'"postgresql://ada:{WORD}@"',
    f'"redis://:{WORD}@/ /"',
    f'"whsec_{WORD}"',
    f'["{WORD} {WORD}", "https://ada:{WORD}@app.test"]',
    f'{{"{WORD} {WORD}" = "{WORD}\\n"}}',
    f'{{a = "{WORD} \\u0000"}}',
    f'[["{WORD}"]]',
    "4815162342",
    "4815162342.5",
]
KEYS = [*leaves(), *leaves(("reports", "sales_summary"))]


@pytest.mark.parametrize("value", VALUES)
def test_no_error_quotes_a_text(tmp_path: Path, value: str) -> None:
    file = tmp_path / "reportd.toml"
    refused = 0
    for key in KEYS:
        file.write_text(f"{'.'.join(key)} = {value}")
        text = error_of(file, HOME)
        refused += bool(text)
        assert WORD not in text, key
        field = field_at(key)
        if field is not None and is_secret(field):
            assert "48151623" not in text, key
    assert refused > len(KEYS) / 2


def test_a_section_made_directly_quotes_no_text() -> None:
    with pytest.raises(ValidationError) as caught:
        Alerts(webhook_url=f"ftp://{WORD}")
    assert WORD not in str(caught.value)


@pytest.mark.parametrize("value", [f'"{WORD}', f'["{WORD}', f'{{"{WORD}": 1', f"https://ada:{WORD}@:0"])
def test_no_error_quotes_a_variable(value: str) -> None:
    text = {key: error_of(None, {**HOME, name_of(key): value}) for key in KEYS}
    assert not [key for key, text in text.items() if WORD in text]
    assert sum(map(bool, text.values())) > len(KEYS) / 2


@pytest.mark.parametrize(
    "text",
    [f'secret = "{WORD}', f"secret = {WORD}", f'secret = "{WORD}" "', f'a = "{WORD}"\na = "{WORD}"', f'a = ["{WORD}"'],
)
def test_no_syntax_error_quotes_a_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(f"[callbacks]\n{text}\n")
    text = error_of(file, HOME)
    assert "is not TOML" in text
    assert WORD not in text
