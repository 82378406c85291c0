"""The snapshot as JSON, for ``GET /status`` and the events. Unavailable values are null."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from reportd.core.faults import Fault
from reportd.core.jobs.job import timestamp
from reportd.core.status.health import as_text, health_of
from reportd.core.status.snapshot import JobView, LetterGroup, Node, QueueView, Series, Snapshot, TypeView
from reportd_web.api import breakers

_TIME_FIELD = re.compile(r"at|since|.*_at")
"""Names of the fields that hold a time."""


def document(snapshot: Snapshot) -> dict[str, Any]:
    """Return the JSON document. Names are in camelCase, times in ISO 8601."""
    health = health_of(snapshot)
    return {
        "at": timestamp(snapshot.at),
        "node": snapshot.here.name,
        "since": timestamp(snapshot.here.since),
        "held": snapshot.here.held,
        "verdict": {
            "level": health.level,
            "brief": health.brief,
            "findings": [
                {
                    "level": finding.level,
                    "text": as_text(finding.sentence, snapshot.at),
                    "whose": finding.whose,
                    "because": finding.because,
                }
                for finding in health.findings
            ],
        },
        "parts": {part.name: {"ok": part.ok, "detail": part.detail} for part in snapshot.parts},
        "types": [_type(view) for view in snapshot.types],
        "queue": None if snapshot.queue is None else _queue(snapshot.queue),
        "scaling": None if snapshot.demand is None else _wire(snapshot.demand),
        "jobs": None if snapshot.jobs is None else {str(state): count for state, count in snapshot.jobs.items()},
        "deadLetters": None if snapshot.letters is None else [_group(group) for group in snapshot.letters],
        "recent": None if snapshot.recent is None else [_job(job) for job in snapshot.recent],
        "pool": _pool(snapshot.here),
        "nodes": [_wire(node) for node in snapshot.nodes],
    }


def _type(view: TypeView) -> dict[str, Any]:
    return {
        "reportType": view.name,
        "breaker": breakers.wire(view.breaker, resting=view.resting),
        "limit": view.limit,
        "load": None if view.load is None else _wire(view.load),
        "figures": _wire(view.figures),
        "trouble": view.trouble or None,
    }


def _queue(queue: QueueView) -> dict[str, Any]:
    series: dict[str, Series | None] = {
        "visible": queue.visible,
        "inFlight": queue.in_flight,
        "delayed": queue.delayed,
        "held": queue.held,
        "dead": queue.dead,
    }
    return {
        **{name: None if values is None else values.now for name, values in series.items()},
        "oldestAt": _time(queue.oldest_at),
        "storedP95Seconds": queue.stored_p95_seconds,
        "lastHour": {name: [] if values is None else values.minutes for name, values in series.items()},
    }


def _group(group: LetterGroup) -> dict[str, Any]:
    return {**_wire(group), "count": group.count}


def _job(job: JobView) -> dict[str, Any]:
    return {**_wire(job), "error": None if job.error is None else _fault(job.error)}


def _fault(fault: Fault) -> dict[str, str]:
    return {"kind": fault.kind, "detail": fault.detail}


def _pool(here: Node) -> dict[str, Any]:
    names = ("slots", "busy", "waiting", "stalled", "lost", "trouble", "browsers")
    return {name: _wire(getattr(here, name)) for name in names}


def _time(at: float | None) -> str | None:
    return None if at is None else timestamp(at)


def _wire(value: Any) -> Any:
    """Return any of the snapshot's values as JSON."""
    if is_dataclass(value):
        return {_camel(field.name): _field(field.name, getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _wire(item) for name, item in value.items()}
    return [_wire(item) for item in value] if isinstance(value, tuple) else value


def _field(name: str, value: Any) -> Any:
    return _time(value) if _TIME_FIELD.fullmatch(name) else _wire(value)


def _camel(name: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), name)
