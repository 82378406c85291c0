"""The keys and defaults that are part of the public interface: they stay, whatever else is added."""

import tomllib
from pathlib import Path
from typing import Any

from reportd.config import load

# As published, except ``data_dir``, which is empty there and set by ``load``.
PUBLISHED = """
data_dir = "/srv/reportd"
[http]
bind = "127.0.0.1:8080"
max_body_bytes = 1048576
[database]
url = "sqlite:///reportd.db"
[queue]
url = "embedded:"
dead_letter_url = ""
visibility_seconds = 60
max_attempts = 3
prefetch = 2
[artifacts]
url = "file:artifacts"
retention_days = 30
[breaker]
store = "memory:"
failure_threshold = 3
recovery_seconds = 10
max_recovery_seconds = 300
[pool]
executable = ""
browsers = 0
pages_per_browser = 2
stall_seconds = 2
max_stalled = 4
recycle_after_jobs = 500
recycle_above_mib = 1024
isolation = "page"
[triage]
interval_seconds = 5
cooldown_seconds = 60
max_redrives = 2
[auth]
tokens_file = ""
[alerts]
webhook_url = ""
slack_url = ""
sns_topic_arn = ""
[callbacks]
allowed_hosts = []
secret = ""
[shutdown]
drain_seconds = 30
[reports.sales_summary]
template = "sales_summary.html"
parameters_schema = "sales_summary.schema.json"
[reports.quarterly]
url = "https://reports.internal/render?params={params}"
allowed_hosts = ["reports.internal", "cdn.internal"]
timeout_seconds = 60
max_concurrency = 0
queue_url = ""
ready = "load"
[reports.quarterly.pdf]
format = "A4"
landscape = false
print_background = true
"""

# Published only in comments.
OTHER_SERVERS = """
[queue]
url = "https://sqs.eu-central-1.amazonaws.com/1/reports.fifo"
dead_letter_url = "https://sqs.eu-central-1.amazonaws.com/1/dead.fifo"
endpoint_url = "http://127.0.0.1:4566"
region = "eu-central-1"
[database]
url = "postgresql://reportd@db/reportd"
[artifacts]
url = "s3://bucket/prefix"
endpoint_url = "http://127.0.0.1:9000"
[breaker]
store = "redis://127.0.0.1:6379/0"
[reports.a]
url = "https://reports.internal/"
ready = "selector:#done"
isolation = "container"
"""


def within(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    return all(
        within(value, whole[name]) if isinstance(value, dict) else whole[name] == value for name, value in part.items()
    )


def test_the_published_configuration_is_accepted_as_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(PUBLISHED)
    assert within(tomllib.loads(PUBLISHED), load(file, {}).redacted())


def test_the_published_values_are_the_defaults() -> None:
    published = tomllib.loads(PUBLISHED)
    quarterly = published["reports"].pop("quarterly")
    assert within(published, load(None, {"REPORTD_DATA_DIR": "/srv/reportd"}).redacted())
    # A product's own page has its own URL and hosts; the other keys are defaults.
    del quarterly["allowed_hosts"]
    environ = {"HOME": "/home/ada", "REPORTD_REPORTS__QUARTERLY__URL": quarterly["url"]}
    assert within(quarterly, load(None, environ).redacted()["reports"]["quarterly"])


def test_other_servers_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(OTHER_SERVERS)
    assert within(tomllib.loads(OTHER_SERVERS), load(file, {"HOME": "/home/ada"}).redacted())
