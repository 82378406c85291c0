"""docs/PLATFORMS.md, compared with the code: versions and limits."""

import re
import tomllib

import pytest

from reportd.adapters.sql.stores.queue import MAX_MESSAGE_BYTES
from reportd.adapters.sqs.attributes import MAX_BATCH_BYTES
from reportd.adapters.worker_processes.checker import CHECK_SECONDS, RENDER_SECONDS
from reportd.adapters.worker_processes.processes import MEMORY_MIB
from reportd.adapters.worker_processes.tasks import MAX_PAGE_BYTES
from reportd.config import Config, ReportType
from reportd.core.jobs.job import MAX_DEPTH
from reportd.core.jobs.options import MAX_FILE_NAME, MAX_PDF_BYTES
from reportd.core.jobs.submission import MAX_PROBLEMS, MAX_URL_LENGTH
from reportd.intake.service import ACCEPT_SECONDS, MAX_WAIT_SECONDS
from reportd.notify import callbacks
from reportd.system.file_limit import MOST_PAGE_CONNECTIONS
from reportd.system.regular_files import MAX_BYTES
from reportd_web.api.breakers import MAX_REASON
from reportd_web.api.submission import BODY_BYTES_PER_SECOND, BODY_SECONDS
from reportd_web.api.wire import DEFAULT_LIMIT, MAX_LIMIT
from reportd_web.http.connection import HEAD_SECONDS, MAX_HEAD_BYTES
from reportd_web.security.body_limit import FREE_BYTES, MOST_BYTES
from tests.documents.blocks import DOCS, ROOT
from tests.engines.brought import ELASTICMQ, OLD_ELASTICMQ, VERSITYGW

PAGE = (DOCS / "PLATFORMS.md").read_text()
KIB, MIB = 1024, 1024 * 1024

LIMITS: dict[str, list[float]] = {
    "request body": [Config().http.max_body_bytes / MIB],
    "head of a request": [MAX_HEAD_BYTES / KIB, HEAD_SECONDS],
    "time for a request body": [BODY_SECONDS, BODY_BYTES_PER_SECOND],
    "bodies of submissions in hand": [MOST_BYTES / MIB, MOST_BYTES / 4 / MIB, FREE_BYTES / KIB],
    "time to accept a submission": [ACCEPT_SECONDS],
    "long poll": [MAX_WAIT_SECONDS],
    "reports or dead letters in one answer": [MAX_LIMIT, DEFAULT_LIMIT],
    "errors in one answer": [MAX_PROBLEMS],
    "nesting of `parameters`": [MAX_DEPTH],
    "time to check parameters": [CHECK_SECONDS, MEMORY_MIB],
    "a page made of a template": [RENDER_SECONDS, MEMORY_MIB, MAX_PAGE_BYTES / MIB],
    "`callbackUrl`": [MAX_URL_LENGTH],
    "`fileName`": [MAX_FILE_NAME],
    "`pdf`": [MAX_PDF_BYTES],
    "reason of a breaker command": [MAX_REASON],
    "configuration file, schema or file of tokens": [MAX_BYTES / MIB],
    "attempt of a job": [ReportType().timeout_seconds],
    "what a page loads": [ReportType().max_page_bytes / MIB],
    "connections of a page": [MOST_PAGE_CONNECTIONS],
    "memory of a page's process": [Config().pool.renderer_limit_mib],
    "jobs that wait": [Config().queue.max_backlog],
    "queue message": [MAX_BATCH_BYTES / MIB, MAX_MESSAGE_BYTES / MIB],
    "callback attempt": [callbacks.TIMEOUT_SECONDS, callbacks.AT_ONCE, 2 * callbacks.AT_ONCE_PER_HOST],
}


@pytest.mark.parametrize(("limit", "figures"), list(LIMITS.items()))
def test_limits_are_those_of_the_code(limit: str, figures: list[float]) -> None:
    row = re.search(rf"(?m)^\| {re.escape(limit)} \| (.+) \|$", PAGE)
    assert row is not None
    said = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", row[1])]
    assert said[: len(figures)] == figures


def test_versions_are_those_of_the_tests() -> None:
    for said in (f"ElasticMQ {ELASTICMQ} and {OLD_ELASTICMQ}", f"Versity S3 Gateway {VERSITYGW}"):
        assert said in PAGE
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f"{python.removeprefix('>=')} or newer" in PAGE
    assert re.search(r"systemd \(>= 252\)", (ROOT / "packaging" / "debian" / "control").read_text())
