"""Who hears of trouble, and how often: one alert per cause and window with the count, and one word when it is over.

An ``Incident`` is what one channel knows of one cause. Whoever keeps it applies these functions to it, one at a time.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

GATHER_SECONDS = 5.0
"""The first alert waits so long for others of its cause, so that its count says something."""

LEASE_SECONDS = 60.0
"""How long a node may take to tell; then another one does."""

_MAX_SIGNATURE = 200
_MAX_TYPE = 64
_MAX_DETAIL = 500


class Kind(StrEnum):
    """What can be told."""

    BREAKER_OPEN = "breaker_open"
    QUARANTINED = "quarantined"

    @property
    def lasts(self) -> bool:
        """It goes on until somebody says that it is over. Else it is over when nothing more has come for a window."""
        return self is Kind.BREAKER_OPEN


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something has happened, ``count`` times, or (``over``) has come to its end.

    ``signature`` is the same for the same cause; ``detail`` an example. ``at``, and of several ``until``: when it
    happened, in seconds since the epoch.
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
        """The signature, at a length that every store can index."""
        if len(self.signature) <= _MAX_SIGNATURE:
            return self.signature
        return self.signature[:_MAX_SIGNATURE] + hashlib.sha256(self.signature.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Incident:
    """``untold`` of ``total`` have not been told, the first of them at ``untold_since``.

    ``told_at``: the last alert, perhaps of an earlier incident. ``announced``: it was told, and its end was not.
    ``due_at``: when there is something to do about it. ``teller``: who does it, and until when that is his.
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
    """What a channel is to say.

    ``notice_id`` is the same when it is said again because nobody knows whether it was heard.
    """

    notice_id: str
    signature: str
    incident: Incident

    @property
    def recovered(self) -> bool:
        """It only says that it is over."""
        return not self.incident.untold


def happened(incident: Incident | None, alarm: Alarm, window: float) -> Incident | None:
    """The incident after the alarm; None if there is none and none begins."""
    detail, last_at = alarm.detail[:_MAX_DETAIL], max(alarm.at, alarm.until)
    if alarm.over:
        if incident is None or _is_closed(incident):
            return incident
        return _scheduled(replace(incident, over=True, last_at=max(incident.last_at, alarm.at)), window)
    if incident is None or _is_closed(incident):
        begun = Incident(
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
        return _scheduled(begun, window)
    going_on = replace(
        incident,
        detail=detail,
        last_at=max(incident.last_at, last_at),
        total=incident.total + alarm.count,
        untold=incident.untold + alarm.count,
        untold_since=incident.untold_since if incident.untold else alarm.at,
        over=False,
    )
    return _scheduled(going_on, window)


def claimed(incident: Incident | None, now: float, token: str, window: float) -> Incident | None:
    """Taken by this teller if something is due; None if it is to be forgotten."""
    if incident is None or incident.due_at > now:
        return incident
    if _is_closed(incident):
        return None
    over = incident.over or (not incident.kind.lasts and now >= incident.last_at + window)
    taken = replace(incident, over=over, teller=token, attempts=incident.attempts + 1, retry_at=now + LEASE_SECONDS)
    return _scheduled(taken, window)


def notice(signature: str, incident: Incident) -> Notice:
    """What the teller of a claimed incident has to say."""
    identity = f"{signature}|{incident.since}|{incident.told_at}|{bool(incident.untold)}"
    return Notice(hashlib.sha256(identity.encode()).hexdigest()[:32], signature, incident)


def told(incident: Incident | None, said: Notice, now: float, window: float) -> Incident | None:
    """It has been said. What has come in the meantime is still to be told."""
    if incident is None or incident.teller != said.incident.teller:
        return incident
    done = replace(incident, teller="", attempts=0, retry_at=0.0)
    untold = incident.untold - said.incident.untold
    if untold:
        done = replace(done, untold_since=max(incident.untold_since, said.incident.last_at))
    if said.recovered:
        done = replace(done, announced=False)
        if untold:
            done = replace(done, total=untold, since=done.untold_since)
        return _scheduled(done, window)
    # One that was over when it was told needs no other word.
    announced = not said.incident.over
    return _scheduled(replace(done, untold=untold, told_at=now, announced=announced), window)


def not_told(incident: Incident | None, token: str, now: float, delay: float, window: float) -> Incident | None:
    """It could not be said: again after ``delay`` seconds."""
    if incident is None or incident.teller != token:
        return incident
    return _scheduled(replace(incident, teller="", retry_at=now + delay), window)


def _is_closed(incident: Incident) -> bool:
    """Nothing is left to say; it is kept for a window so that a new one is not told too soon."""
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
