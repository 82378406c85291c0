"""The text of an alert: what happened, how often, since when, and what to do."""

from typing import Any

from reportd.core.alerts.incidents import Incident, Kind, Notice
from reportd.core.jobs.job import timestamp

_NAMES = {Kind.BREAKER_OPEN: "breaker open", Kind.QUARANTINED: "reports quarantined"}

_RAISED = {
    Kind.BREAKER_OPEN: "The breaker of {report_type} has opened {times}",
    Kind.QUARANTINED: "{reports} of {report_type} went to quarantine",
}

_ADVICE = {
    Kind.BREAKER_OPEN: (
        "Its reports wait and use no attempt; it lets one through now and then and closes when that succeeds. "
        "Check whether the page they are made from works."
    ),
    Kind.QUARANTINED: "They stay until somebody acts. Fix the cause, then retry them.",
}

_RECOVERED = {
    Kind.BREAKER_OPEN: "The breaker of {report_type} has closed at {last}; it was open since {since}.",
    Kind.QUARANTINED: (
        "No more reports of {report_type} have gone to quarantine since {last}, after {total} since {since}: {detail}."
    ),
}


def title(notice: Notice) -> str:
    """Return a title: one line of ASCII."""
    state = "over" if notice.recovered else "alert"
    return f"reportd {state}: {_NAMES[notice.incident.kind]}, {_type(notice.incident)}"


def text(notice: Notice, status_url: str = "") -> str:
    """Return a paragraph for people. ``status_url``: the URL of the status page."""
    incident = notice.incident
    paragraph = _over(incident) if notice.recovered else _alert(incident)
    return f"{paragraph} {status_url}" if status_url else paragraph


def document(notice: Notice, status_url: str = "") -> dict[str, Any]:
    """Return the alert for programs. ``count`` is since the last alert, ``total`` since the incident began."""
    incident = notice.incident
    return {
        "id": notice.notice_id,
        "type": "alert.recovered" if notice.recovered else "alert.raised",
        "kind": incident.kind,
        "signature": notice.signature,
        "reportType": incident.report_type,
        "detail": incident.detail,
        "count": incident.untold,
        "total": incident.total,
        "since": timestamp(incident.since),
        "lastAt": timestamp(incident.last_at),
        "over": notice.recovered or incident.over,
        "text": text(notice, status_url),
        "statusUrl": status_url or None,
    }


def _alert(incident: Incident) -> str:
    number, more = incident.untold, incident.total - incident.untold
    happened = _RAISED[incident.kind].format(
        report_type=_type(incident),
        times="once" if number == 1 else f"{number} times",
        reports="1 report" if number == 1 else f"{number} reports",
    )
    earlier = f" ({more} more before)" if more else ""
    over = " It is over by now." if incident.over else ""
    since = timestamp(incident.since)
    return f"{happened}{earlier}, since {since}: {incident.detail}.{over} {_ADVICE[incident.kind]}"


def _over(incident: Incident) -> str:
    return _RECOVERED[incident.kind].format(
        report_type=_type(incident),
        since=timestamp(incident.since),
        last=timestamp(incident.last_at),
        total=incident.total,
        detail=incident.detail,
    )


def _type(incident: Incident) -> str:
    """Return the report type; a message that is no job has none."""
    return incident.report_type or "no known type"
