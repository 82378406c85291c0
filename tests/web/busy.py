"""A busy snapshot with many faults: it fills every section of the status page."""

import uuid
from dataclasses import replace
from typing import Any

from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.core.capacity.scaling import Demand
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.transitions import JobState
from reportd.core.status.snapshot import (
    RECENT,
    BrowserView,
    Figures,
    JobView,
    LetterGroup,
    LetterView,
    Load,
    Node,
    Part,
    QueueView,
    Series,
    Snapshot,
    TypeView,
)

TIMEOUT = "timeout: not done within 60 s, while waiting for the page to load"
REFUSED = "https://reports.internal/render?params=%7B%22year%22%3A2025%7D answered 503"
USERS = [str(uuid.UUID(int=n * 0x0B9F6C1E6A0C4B579F2A2F3C8F1F7F1)) for n in range(1, 9)]
TYPES = [
    "sales_summary", "user_activity", "quarterly", "invoice", "inventory", "payroll", "tax_statement", "ledger",
    "audit_trail", "usage_by_region", "churn", "forecast",
]  # fmt: skip


def busy(at: float) -> Snapshot:
    here = _node("web-1-4211", at - 3 * 86400 - 4500, 4)
    nodes = (here, _node("web-2-731", at - 93, 4), replace(_node("web-3-90", at, 4), seen_at=at - 260, gone=True))
    return Snapshot(
        at=at,
        here=here,
        parts=(Part("database", ok=True, detail="answers"), Part("browsers", ok=True, detail="2 running")),
        types=tuple(_type(name, number, at) for number, name in enumerate(TYPES)),
        queue=QueueView(
            visible=Series(137, tuple(max(0, n * n // 25 - 7) for n in range(60))),
            in_flight=Series(8, tuple(4 + n * 7 % 5 for n in range(60))),
            delayed=Series(41, tuple(max(0, n - 19) for n in range(60))),
            dead=Series(26, tuple(n // 9 * 3 + 3 for n in range(60))),
            oldest_at=at - 312,
            stored_p95_seconds=74.2,
        ),
        demand=Demand(137, 34.25, 65.8, 1.92, running=8, nodes_wanted=3),
        letters=tuple(_group(number, at) for number in range(3)),
        jobs={state: 12345 if state is JobState.SUCCEEDED else 3 for state in JobState},
        recent=tuple(_job(number, at) for number in range(RECENT)),
        nodes=nodes,
    )


def _node(name: str, since: float, slots: int) -> Node:
    browsers = (BrowserView(4219, 212, 2, 640, retiring=False), BrowserView(4377, 499, 1, 910, retiring=True))
    return Node(name, since, slots=slots, busy=3, waiting=2, stalled=1, held=6, lost=1, browsers=browsers)


def _type(name: str, number: int, at: float) -> TypeView:
    figures = Figures(94.0 / (number + 1), 0, 300, 0.084 * (number + 1), 0.311 * (number + 1))
    view = TypeView(Breaker(name), resting=False, limit=8, load=Load(number % 4, number % 4, 1), figures=figures)
    changes: dict[str, Any] = {}
    if name == "user_activity":
        breaker = Breaker(
            name,
            BreakerState.OPEN,
            since=at - 14,
            until=at + 6,
            openings=1,
            faults=(TIMEOUT,),
            reason="3 failures in a row",
            by="web-1-4211",
        )  # fmt: skip
        changes = {"breaker": breaker, "resting": True, "load": Load(37, 37, 0, at - 65), "limit": 1}
        changes["figures"] = Figures(0.0, 9, 31, 1.9, 58.0)
    elif name == "quarterly":
        breaker = Breaker(
            name, BreakerState.HALF_OPEN, since=at - 2, faults=(f"page_unavailable: {REFUSED}",), by="web-2-731"
        )
        breaker = replace(breaker, reason="the rest is over")
        changes = {"breaker": breaker, "resting": True, "load": Load(12, 9, 1, at - 130), "limit": 1}
        changes["figures"] = Figures(3.0, 4, 40, 3.4, 9.8)
    elif name == "payroll":
        breaker = Breaker(
            name, BreakerState.FORCED_OPEN, since=at - 7300, by="ada", reason="its database moves tonight"
        )
        changes = {"breaker": breaker, "resting": True, "load": Load(88, 88, 0, at - 7000), "figures": Figures()}
    return replace(view, **changes)


def _group(number: int, at: float) -> LetterGroup:
    kind, cause, waiting, quarantined = [
        ("script_error", "TypeError: Cannot read properties of undefined (reading 'rows')", 0, 17),
        ("page_unavailable", "https://reports.internal/render answered 503", 6, 0),
        ("unknown_report_type", "there is no report type of this name; accepted: churn, forecast, inventory", 0, 3),
    ][number]
    verdict = "waiting" if waiting else "quarantined"
    due_at = at + 42 if waiting else None
    letters = tuple(
        LetterView(str(uuid.UUID(int=1000 * number + n + 1)), str(uuid.UUID(int=1000 * number + n + 1)), cause, verdict,
               at - 100 * n - 60, due_at)
        for n in range(3)
    )  # fmt: skip
    group_id = f"g-{number:016x}"
    return LetterGroup(group_id, kind, cause, ("quarterly",), waiting, quarantined, at - 86400 * 2.5, at - 60, letters)


def _job(number: int, at: float) -> JobView:
    state = [
        JobState.RUNNING, JobState.QUEUED, JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.SUCCEEDED,
        JobState.QUARANTINED, JobState.SUCCEEDED, JobState.DEAD_LETTERED, JobState.CANCELLED,
    ][number * 5 % 9]  # fmt: skip
    failed = state in (JobState.QUARANTINED, JobState.DEAD_LETTERED) or number == 2
    kind = FaultKind.SCRIPT_ERROR if number % 2 else FaultKind.TIMEOUT
    detail = "TypeError: Cannot read properties of undefined (reading 'rows')" if number % 2 else TIMEOUT[9:]
    return JobView(
        task_id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))),
        report_type=TYPES[number % len(TYPES)],
        user_id=USERS[number % len(USERS)],
        state=state,
        attempts=3 if failed else 1 if state is not JobState.QUEUED else 0,
        deferrals=int(number % 7 == 1),
        submitted_at=at - 3 - number * number * 7,
        finished_at=None,
        error=Fault(kind, detail) if failed else None,
        pdf_bytes=48_211 * (number + 1) if state is JobState.SUCCEEDED else None,
    )
