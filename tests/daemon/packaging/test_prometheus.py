"""The alert rules and the dashboard: Prometheus accepts them, they fire when they should, and their series exist.

``promtool`` is in Debian's package prometheus, which ``packaging/machine.sh test`` installs.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.node import World
from tests.exposed import everything, names, open_scene

pytestmark = pytest.mark.usefixtures("autojump_clock")

PACKAGING = Path(__file__).parents[3] / "packaging"
RULES = PACKAGING / "prometheus" / "alerts.yml"
RULE_TESTS = PACKAGING / "prometheus" / "alerts_test.yml"
DASHBOARD = PACKAGING / "grafana" / "dashboard.json"


def promtool(*arguments: str | Path) -> str:
    """Return the output of promtool; empty when it reports success only."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def queries() -> list[str]:
    """Return all queries of the dashboard, as Grafana sends them."""
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "5m").replace("$job", ".+") for query in asked]


async def exposed() -> set[str]:
    """Return the names of all series that a daemon may have."""
    async with open_scene(World()) as scene:
        everything(scene.metrics, "sales")
        scene.requests = {"reports": {"ReceiveMessage": 1}}
        return names(await scene.exposition.text())


def asked_for(text: str) -> set[str]:
    return set(re.findall(r"\b(?:reportd|process)_\w+", text))


def test_the_rules_are_good() -> None:
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", RULES) == ""


def test_each_alert_fires_when_it_should_and_not_else() -> None:
    assert promtool("test", "rules", RULE_TESTS) == ""


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    alerts, tests = set(re.findall(r"- alert: (\w+)", RULES.read_text())), RULE_TESTS.read_text()
    assert len(alerts) >= 8
    assert set(re.findall(r"- alertname: (\w+)\n +eval_time: \w+\n +exp_alerts:\n +- exp_labels", tests)) == alerts
    assert set(re.findall(r"- {alertname: (\w+), eval_time: \w+, exp_alerts: \[\]}", tests)) == alerts


def test_a_rule_that_is_wrong_does_not_pass(tmp_path: Path) -> None:
    rules = RULES.read_text()
    assert "reportd:backlog_seconds > 900" in rules
    (tmp_path / RULES.name).write_text(rules.replace("reportd:backlog_seconds > 900", "reportd:backlog_seconds > 1100"))
    (tmp_path / RULE_TESTS.name).write_text(RULE_TESTS.read_text())
    assert "ReportdBacklog" in promtool("test", "rules", tmp_path / RULE_TESTS.name)


async def test_rules_ask_for_what_there_is() -> None:
    wanted = asked_for(RULES.read_text())
    assert len(wanted) >= 8
    assert wanted <= await exposed()


async def test_series_of_the_rule_tests_are_such_as_there_are() -> None:
    assert asked_for(RULE_TESTS.read_text()) <= await exposed()


async def test_the_dashboard_asks_for_what_there_is() -> None:
    wanted = asked_for("\n".join(queries()))
    assert len(wanted) >= 25
    assert wanted <= await exposed()


async def test_the_dashboard_shows_all_there_is_of_the_daemon() -> None:
    shown = {name.removesuffix("_bucket") for name in asked_for(DASHBOARD.read_text())}
    there = {name for name in await exposed() if name.startswith("reportd_")}
    there = {name.removesuffix("_bucket") for name in there if not name.endswith(("_sum", "_count"))}
    own = {"reportd_backlog_per_slot", "reportd_backlog_seconds", "reportd_nodes_wanted"}
    assert there - shown == own, "each node says it by itself, for what scales a fleet"


def test_the_dashboards_queries_are_good(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert promtool("check", "rules", tmp_path / "queries.yml") == ""


def test_the_dashboards_panels_have_titles_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & area, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= area
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
