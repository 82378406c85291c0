"""docs/OPERATIONS.md: a runbook for each alert, and no word of what is not there."""

import re
from pathlib import Path

from reportd.config import ReportType
from reportd.config.keys import leaves
from reportd.core.faults import FaultKind

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "OPERATIONS.md").read_text()
SOURCES = "".join(file.read_text() for file in (ROOT / "daemon" / "reportd").rglob("*.py"))
ALERTS = (ROOT / "packaging" / "prometheus" / "alerts.yml").read_text()


def code() -> list[str]:
    """All that the page shows as code."""
    return re.findall(r"`([^`\n]+)`", PAGE) + re.findall(r"(?ms)^```\w+\n(.*?)^```", PAGE)


def test_each_alert_has_its_runbook_in_the_order_of_the_rules() -> None:
    runbook = PAGE.partition("\n## Runbook\n")[2]
    parts = re.split(r"(?m)^### (\w+)\n", runbook)
    assert parts[1::2] == re.findall(r"- alert: (\w+)", ALERTS)
    assert all(len(text) > 150 for text in parts[2::2])


def test_it_has_what_an_operator_looks_for() -> None:
    headings = re.findall(r"(?m)^## (.+)$", PAGE)
    assert headings == [
        "Install",
        "Configure",
        "Many machines",
        "Upgrade",
        "Back up",
        "Redis: single, Sentinel, cluster",
        "Move the PDFs to another store",
        "Size a machine",
        "Read the page",
        "When a report type fails",
        "Dead letters",
        "Runbook",
    ]


def test_its_keys_are_keys() -> None:
    known = {".".join(path) for path in leaves()} | set(ReportType.model_fields)
    sections = {key.partition(".")[0] for key in known if "." in key}
    mentioned = {word for text in code() for word in re.findall(r"\b([a-z]+\.[a-z_]+)\b", text)}
    keys = {word for word in mentioned if word.partition(".")[0] in sections and not word.endswith(".yml")}
    keys = {key for key in keys if f'"{key}"' not in SOURCES}  # an event of the log
    assert len(keys) > 10
    assert keys <= known


def test_its_kinds_of_fault_events_and_metrics_are_those_of_the_daemon() -> None:
    runbook = PAGE.partition("\n### ReportdJobsFail\n")[0].partition("\n### ReportdDeadLettersGrow\n")[2]
    kinds = set(re.findall(r"`([a-z]+_[a-z]+)`", runbook))
    assert kinds
    assert kinds <= set(FaultKind)
    for event in re.findall(r"\b(?:job|browser)\.[a-z]+_[a-z_]+\b", PAGE):
        assert f'"{event}"' in SOURCES, event
    for metric in re.findall(r"\breportd_[a-z_]+\b", PAGE):
        assert f'"{metric.removesuffix("_total")}"' in SOURCES or metric == "reportd_task_id", metric
