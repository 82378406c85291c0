"""``reportd doctor`` tries what the configuration names. What it says of that holds no secret."""

from pathlib import Path

import pytest

from reportd.cli.doctor import _remote_checks, _run_check
from reportd.config import Config, load
from tests.servers.aws import pretend_credentials
from tests.servers.ports import free_port

WORD = "hunter2"

pytestmark = pytest.mark.stands_still("making a client of AWS takes a quarter of a second of parsing")


def configuration(folder: Path) -> Config:
    """Return one whose servers are away, and whose secrets are in files."""
    here = f"127.0.0.1:{free_port()}"
    texts = {
        "database": f"postgresql://ada:{WORD}@{here}/x?sslpassword={WORD}",
        "breakers": f"redis://:{WORD}@{here}/0",
        "queue": f"http://key:{WORD}@{here}/1/jobs?X-Amz-Signature={WORD}",
        "alerts": f"http://ada:{WORD}@{here}/{WORD}?{WORD}",
    }
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n")
    file = folder / "reportd.toml"
    file.write_text("""
        database.url = {file = "database"}
        breaker.store = {file = "breakers"}
        queue = {url = {file = "queue"}, dead_letter_url = "http://127.0.0.1:1/1/dead"}
        alerts = {webhook_url = {file = "alerts"}, slack_url = {file = "alerts"}}
        callbacks.allowed_hosts = ["127.0.0.1"]
        reports.sales_summary.callback_url = {file = "alerts"}
    """)
    return load(file, {"HOME": str(folder)})


async def test_what_the_doctor_says_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    config = configuration(tmp_path)
    told = {}
    for name, look in _remote_checks(config).items():
        _, ok, told[name] = await _run_check(name, look, config)
        assert ok == (name == "artifacts"), told[name]
    assert set(told) == {"database", "queue", "artifacts", "breakers", "alerts", "callbacks"}
    assert not [name for name, text in told.items() if WORD in text]
    assert "alerts.webhook_url" in told["alerts"]
