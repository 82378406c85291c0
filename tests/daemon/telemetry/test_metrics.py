"""The metrics, their names and labels, and that Prometheus's own checks find no fault."""

import math
import subprocess
import time

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from reportd.core.breaker import breaker
from reportd.core.breaker.breaker import Breaker
from reportd.core.breaker.decide import decide
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobEvent
from reportd.telemetry.metrics import Metrics
from tests.exposed import Samples, everything, samples

TYPES = {"sales": "sales", "Sales": "sales", "activity": "activity"}


def counted(metrics: Metrics) -> Samples:
    return samples(metrics.exposition())


def test_a_job_from_submission_to_success() -> None:
    metrics = Metrics(TYPES)
    metrics.accepted("sales")
    metrics.started("sales", 1.5)
    metrics.rendered("sales", 0.25, 12_000)
    metrics.ended("sales", JobEvent.SUCCEEDED, 2.0)
    seen = counted(metrics)
    assert seen["reportd_jobs_accepted_total", ("report_type", "sales")] == 1
    assert seen["reportd_jobs_total", ("outcome", "succeeded"), ("report_type", "sales")] == 1
    assert seen["reportd_job_wait_seconds_sum", ("report_type", "sales")] == 1.5
    assert seen["reportd_render_seconds_sum", ("report_type", "sales")] == 0.25
    assert seen["reportd_render_seconds_bucket", ("le", "0.25"), ("report_type", "sales")] == 1
    assert seen["reportd_render_seconds_bucket", ("le", "0.1"), ("report_type", "sales")] == 0
    assert seen["reportd_pdf_bytes_total", ("report_type", "sales")] == 12_000
    assert seen["reportd_job_duration_seconds_sum", ("report_type", "sales")] == 2.0
    assert seen["reportd_jobs_total", ("outcome", "succeeded"), ("report_type", "activity")] == 0


def test_only_success_has_a_duration() -> None:
    metrics = Metrics(TYPES)
    for outcome in (JobEvent.RETRIED, JobEvent.DEAD_LETTERED, JobEvent.CANCELLED, JobEvent.RELEASED):
        metrics.ended("sales", outcome, 5.0)
    metrics.deferred("sales")
    metrics.failed("sales", FaultKind.TIMEOUT)
    seen = counted(metrics)
    for what in ("retried", "dead_lettered", "cancelled", "released", "deferred"):
        assert seen["reportd_jobs_total", ("outcome", what), ("report_type", "sales")] == 1
    assert seen["reportd_job_failures_total", ("kind", "timeout"), ("report_type", "sales")] == 1
    assert seen["reportd_job_duration_seconds_count", ("report_type", "sales")] == 0


def test_nobody_outside_can_make_new_series() -> None:
    metrics = Metrics(TYPES)
    metrics.ended("sales", JobEvent.SUCCEEDED, 1.0)
    everything(metrics, "of nobody")
    before = len(counted(metrics))
    for number in range(1000):
        everything(metrics, f"of nobody {number}")
    seen = counted(metrics)
    assert len(seen) == before
    assert seen["reportd_jobs_accepted_total", ("report_type", "other")] == 1001
    assert {value for name in seen for key, value in name[1:] if key == "report_type"} == {"sales", "activity", "other"}


def test_an_alias_is_counted_with_its_type() -> None:
    metrics = Metrics(TYPES)
    metrics.accepted("Sales")
    metrics.accepted("sales")
    assert counted(metrics)["reportd_jobs_accepted_total", ("report_type", "sales")] == 2


def test_a_producers_clock_that_is_ahead_makes_no_negative_wait() -> None:
    metrics = Metrics(TYPES)
    metrics.started("sales", -600.0)
    metrics.ended("sales", JobEvent.SUCCEEDED, -599.0)
    seen = counted(metrics)
    assert seen["reportd_job_wait_seconds_sum", ("report_type", "sales")] == 0
    assert seen["reportd_job_duration_seconds_sum", ("report_type", "sales")] == 0


def test_moves_of_a_breaker() -> None:
    metrics = Metrics(TYPES)
    command = breaker.Command("ada", breaker.BreakerEvent.FORCED_OPEN)
    change = decide(Breaker("sales"), command, 1.0, breaker.BreakerPolicy(), chance=0.0, token="t").transition
    assert change is not None
    metrics.breaker_moved(change)
    seen = counted(metrics)
    assert seen["reportd_breaker_transitions_total", ("event", "forced_open"), ("report_type", "sales")] == 1
    assert seen["reportd_breaker_transitions_total", ("event", "tripped"), ("report_type", "sales")] == 0


def test_the_rest() -> None:
    metrics = Metrics(TYPES)
    metrics.triage_verdict("quarantined")
    metrics.callback("delivered")
    metrics.alert("slack", "sent")
    metrics.browser_started()
    metrics.browser_lost()
    metrics.browser_recycled()
    metrics.loop_lag(0.02)
    seen = counted(metrics)
    assert seen["reportd_triage_verdicts_total", ("verdict", "quarantined")] == 1
    assert seen["reportd_callbacks_total", ("outcome", "delivered")] == 1
    assert seen["reportd_alerts_total", ("channel", "slack"), ("outcome", "sent")] == 1
    for what in ("started", "lost", "recycled"):
        assert seen[(f"reportd_browsers_{what}_total",)] == 1
    assert seen["reportd_event_loop_lag_seconds_bucket", ("le", "0.025")] == 1
    assert seen["reportd_event_loop_lag_seconds_bucket", ("le", "0.01")] == 0


def test_the_process_is_seen_also_where_little_of_proc_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_: object) -> float:
        raise FileNotFoundError

    # With systemd's ProcSubset=pid there is no /proc/stat, which the library reads first.
    monkeypatch.setattr(prometheus_client.ProcessCollector, "_boot_time", hidden)
    seen = counted(Metrics(TYPES))
    assert seen[("process_resident_memory_bytes",)] > 1e6
    assert seen[("process_cpu_seconds_total",)] > 0
    assert seen[("process_open_fds",)] > 2
    assert not math.isnan(seen[("process_start_time_seconds",)])


def test_two_daemons_in_a_process_share_nothing_and_the_librarys_own_registry_has_nothing_of_ours() -> None:
    one, other = Metrics(TYPES), Metrics(TYPES)
    one.accepted("sales")
    assert counted(other)["reportd_jobs_accepted_total", ("report_type", "sales")] == 0
    assert b"reportd" not in prometheus_client.generate_latest()


def test_counting_a_job_costs_a_hundredth_of_the_job_at_most() -> None:
    metrics = Metrics({f"type {number}": f"type {number}" for number in range(50)})
    jobs = 1000
    begun = time.process_time()
    for number in range(jobs):
        report_type = f"type {number % 50}"
        metrics.accepted(report_type)
        metrics.started(report_type, 1.0)
        metrics.rendered(report_type, 0.3, 12_000)
        metrics.ended(report_type, JobEvent.SUCCEEDED, 2.0)
    # A small job takes 20 ms of the daemon's own CPU, without the browser's.
    assert (time.process_time() - begun) / jobs < 0.01 * 0.020


def test_every_metric_says_what_it_is() -> None:
    for family in text_string_to_metric_families(Metrics(TYPES).exposition().decode()):
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert not family.name.endswith("_created"), family.name


def test_promtool_has_nothing_to_say() -> None:
    """It is in Debian's package prometheus, which ``packaging/machine.sh test`` installs."""
    metrics = Metrics(TYPES)
    everything(metrics, "sales")
    told = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.exposition(), capture_output=True, check=False, timeout=60
    )
    assert (told.returncode, told.stdout + told.stderr) == (0, b"")


def test_report_types_that_come_later_count_from_zero_and_those_that_go_are_kept() -> None:
    metrics = Metrics({"sales": "sales"})
    metrics.ended("sales", JobEvent.SUCCEEDED, 1.0)
    metrics.reconfigure({"later": "later", "alias": "later"})
    assert counted(metrics)["reportd_jobs_total", ("outcome", "succeeded"), ("report_type", "later")] == 0
    metrics.ended("alias", JobEvent.SUCCEEDED, 1.0)
    metrics.ended("sales", JobEvent.SUCCEEDED, 1.0)
    seen = counted(metrics)
    assert seen["reportd_jobs_total", ("outcome", "succeeded"), ("report_type", "later")] == 1
    assert seen["reportd_jobs_total", ("outcome", "succeeded"), ("report_type", "sales")] == 2
