"""How often a channel alerts: one alert with the count per cause and window, and one when the incident is over.

An ``Incident`` is the state of one cause on one channel. The alert store applies these functions to it atomically.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

GATHER_SECONDS = 5.0
"""The first alert waits for so long, so that its count includes other events of the same cause."""

LEASE_SECONDS = 60.0
"""How long a node may take to send; then another node takes over."""

_MAX_SIGNATURE = 200
_MAX_TYPE = 64
_MAX_DETAIL = 500


class Kind(StrEnum):
    """The kinds of events that alert."""

    BREAKER_OPEN = "breaker_open"
    QUARANTINED = "quarantined"

    @property
    def lasts(self) -> bool:
        """Whether it lasts until an alarm says ``over``. Any other kind ends after a window without a new alarm."""
        return self is Kind.BREAKER_OPEN


@dataclass(frozen=True, slots=True)
class Alarm:
    """An event that happened ``count`` times, or (``over``) the end of one.

    ``signature``: the same for the same cause. ``detail``: of one example. ``at``: when it happened, and ``until`` when
    it happened last, in seconds since the epoch.
    """

    kind: Kind
    signature: str
    report_type: str
    detail: str
    at: float
    over: bool = False
    count: int = 1
    until: float = 0.0

    @property
    def key(self) -> str:
        """The signature, short enough for every store to index."""
        if len(self.signature) <= _MAX_SIGNATURE:
            return self.signature
        return self.signature[:_MAX_SIGNATURE] + hashlib.sha256(self.signature.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Incident:
    """One cause on one channel. ``untold`` of ``total`` events are in no alert yet, the first from ``untold_since``.

    ``told_at``: the last alert, possibly of an earlier incident. ``announced``: an alert was sent, but not its end.
    ``due_at``: when something must be sent or decided. ``teller``: token of the node that sends; ``retry_at``: until
    when it alone may, or when sending is tried again.
    """

    kind: Kind
    report_type: str
    detail: str
    since: float
    last_at: float
    total: int
    untold: int
    untold_since: float
    told_at: float | None = None
    announced: bool = False
    over: bool = False
    attempts: int = 0
    retry_at: float = 0.0
    teller: str = ""
    due_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert to send. ``notice_id`` stays the same when it is sent again after an unknown result."""

    notice_id: str
    signature: str
    incident: Incident

    @property
    def recovered(self) -> bool:
        """Whether it only says that the incident is over."""
        return not self.incident.untold


def record_alarm(incident: Incident | None, alarm: Alarm, window: float) -> Incident | None:
    """Return the incident after an alarm; None if there is none and none begins."""
    detail, last_at = alarm.detail[:_MAX_DETAIL], max(alarm.at, alarm.until)
    if alarm.over:
        if incident is None or _is_closed(incident):
            return incident
        return _scheduled(replace(incident, over=True, last_at=max(incident.last_at, alarm.at)), window)
    if incident is None or _is_closed(incident):
        new = Incident(
            kind=alarm.kind,
            report_type=alarm.report_type[:_MAX_TYPE],
            detail=detail,
            since=alarm.at,
            last_at=last_at,
            total=alarm.count,
            untold=alarm.count,
            untold_since=alarm.at,
            told_at=incident.told_at if incident else None,
        )
        return _scheduled(new, window)
    continued = replace(
        incident,
        detail=detail,
        last_at=max(incident.last_at, last_at),
        total=incident.total + alarm.count,
        untold=incident.untold + alarm.count,
        untold_since=incident.untold_since if incident.untold else alarm.at,
        over=False,
    )
    return _scheduled(continued, window)


def claim(incident: Incident | None, now: float, token: str, window: float) -> Incident | None:
    """Return the incident, claimed with ``token`` if something is due; None if it can be deleted."""
    if incident is None or incident.due_at > now:
        return incident
    if _is_closed(incident):
        return None
    over = incident.over or (not incident.kind.lasts and now >= incident.last_at + window)
    owned = replace(incident, over=over, teller=token, attempts=incident.attempts + 1, retry_at=now + LEASE_SECONDS)
    return _scheduled(owned, window)


def notice_for(signature: str, incident: Incident) -> Notice:
    """Return the alert that the owner of a claimed incident must send."""
    identity = f"{signature}|{incident.since}|{incident.told_at}|{bool(incident.untold)}"
    return Notice(hashlib.sha256(identity.encode()).hexdigest()[:32], signature, incident)


def mark_sent(incident: Incident | None, sent: Notice, now: float, window: float) -> Incident | None:
    """Return the incident after its alert was sent. Events that came meanwhile are still to be sent."""
    if incident is None or incident.teller != sent.incident.teller:
        return incident
    done = replace(incident, teller="", attempts=0, retry_at=0.0)
    untold = incident.untold - sent.incident.untold
    if untold:
        done = replace(done, untold_since=max(incident.untold_since, sent.incident.last_at))
    if sent.recovered:
        done = replace(done, announced=False)
        if untold:
            done = replace(done, total=untold, since=done.untold_since)
        return _scheduled(done, window)
    # An alert that already said "over" needs no second one.
    announced = not sent.incident.over
    return _scheduled(replace(done, untold=untold, told_at=now, announced=announced), window)


def mark_failed(incident: Incident | None, token: str, now: float, delay: float, window: float) -> Incident | None:
    """Return the incident after a failed send: it is tried again after ``delay`` seconds."""
    if incident is None or incident.teller != token:
        return incident
    return _scheduled(replace(incident, teller="", retry_at=now + delay), window)


def _is_closed(incident: Incident) -> bool:
    """Return whether nothing is left to send. The incident is kept for a window, so the next one can't alert early."""
    return not incident.untold and not incident.announced


def _scheduled(incident: Incident, window: float) -> Incident:
    quiet_until = 0.0 if incident.told_at is None else incident.told_at + window
    if incident.untold:
        due_at = max(incident.untold_since + GATHER_SECONDS, quiet_until)
    elif not incident.announced:
        due_at = quiet_until
    elif incident.over:
        due_at = incident.last_at
    else:
        due_at = float("inf") if incident.kind.lasts else incident.last_at + window
    return replace(incident, due_at=max(due_at, incident.retry_at))
