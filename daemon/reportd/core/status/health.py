"""The findings of a snapshot, readable in five seconds: does it work, what is stuck, and whose fault is it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from reportd.core.breaker.breaker import BreakerState
from reportd.core.faults import NATURE, Blame, FaultKind
from reportd.core.status.durations import format_duration
from reportd.core.status.snapshot import BACKGROUND, Load, Snapshot, TypeView

SLOW_SECONDS = 300.0
"""A job of a healthy report type that waits longer is reported."""

RESENT_SECONDS = 3600.0
"""Lost messages are reported for so long after they were sent again."""

_FEW = 2
"""Reported when more than this many times the live nodes are wanted; one more is wanted in every burst."""

BAD_RATE, ENOUGH = 0.5, 5
"""A report type is reported when at least BAD_RATE of at least ENOUGH renders failed."""


class Level(StrEnum):
    """``bad``: something does not work or is stuck. ``watch``: it works, but not as it should."""

    GOOD = "good"
    WATCH = "watch"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a report type or a node."""

    text: str


@dataclass(frozen=True, slots=True)
class At:
    """A time of day."""

    at: float


@dataclass(frozen=True, slots=True)
class Since:
    """The time that has passed since ``at``."""

    at: float


@dataclass(frozen=True, slots=True)
class Until:
    """The time that is left until ``at``."""

    at: float


Sentence = tuple[str | Name | At | Since | Until, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """``whose`` fault it is, if known, and the last error (``because``); empty where the sentence says all."""

    level: Level
    sentence: Sentence
    whose: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """The findings, worst first. ``brief`` is for the title of a background tab."""

    level: Level
    brief: str
    findings: tuple[Finding, ...]


def health_of(snapshot: Snapshot) -> Health:
    """Return the findings of a snapshot."""
    findings = [*_parts(snapshot), *_breakers(snapshot), *_backlog(snapshot), *_refused(snapshot), *_scale(snapshot)]
    findings += [*_nodes(snapshot), *_lost(snapshot)]
    letters = sum(group.quarantined for group in snapshot.letters or ())
    if letters:
        # Letters can stay for days, so they must not alarm anybody every day.
        findings.append(Finding(Level.GOOD, (f"{_some(letters, 'dead letter')} to decide on",)))
    findings.sort(key=lambda finding: _ORDER[finding.level])
    level = findings[0].level if findings else Level.GOOD
    if level is Level.GOOD:
        findings.insert(0, Finding(Level.GOOD, ("All clear",)))
    return Health(level, _MARK[level] + _brief(snapshot, level), tuple(findings))


def as_text(sentence: Sentence, now: float) -> str:
    """Return the sentence as text, with durations as of ``now``."""
    return "".join(_word(part, now) for part in sentence)


def clock_time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M} UTC"


def fault_of(fault: str) -> str:
    """Return whose fault a text of the form ``kind: detail`` is; empty if unknown."""
    kind = fault.partition(":")[0]
    return f"fault of {_WHOSE[NATURE[FaultKind(kind)].blame]}" if kind in set(FaultKind) else ""


_ORDER = {Level.BAD: 0, Level.WATCH: 1, Level.GOOD: 2}
_REFUSED = (
    "the type's or a user's share of queue.max_backlog is full, or a part is unavailable; the log names the limit"
)
_MARK = {Level.BAD: "● ", Level.WATCH: "◐ ", Level.GOOD: ""}
_WHOSE = {
    Blame.MESSAGE: "the submission",
    Blame.PAGE: "its page",
    Blame.UPSTREAM: "a host that its page loads from",
    Blame.NODE: "this machine",
    Blame.STORE: "the PDF store",
    Blame.US: "reportd itself",
}


def _word(part: str | Name | At | Since | Until, now: float) -> str:
    match part:
        case At(at):
            return clock_time(at)
        case Since(at):
            return format_duration(now - at)
        case Until(at):
            return format_duration(at - now)
        case Name(text):
            return text
        case _:
            return part


def _brief(snapshot: Snapshot, level: Level) -> str:
    if level is Level.GOOD:
        return "All clear"
    states = [view.breaker.state for view in snapshot.types]
    half_open = states.count(BreakerState.HALF_OPEN)
    opened = states.count(BreakerState.OPEN) + states.count(BreakerState.FORCED_OPEN)
    words = [part.name for part in snapshot.parts if not part.ok]
    words += [f"{opened} open"] if opened else []
    words += [f"{half_open} half-open"] if half_open and not words else []
    words += ["backlog"] if not words and next(_scale(snapshot), None) else []
    return ", ".join(words) or "Needs attention"


def _parts(snapshot: Snapshot) -> Iterator[Finding]:
    for part in snapshot.parts:
        if not part.ok and part.name != BACKGROUND:
            stopping = snapshot.here.draining and part.name == "accepting"
            yield Finding(Level.WATCH if stopping else Level.BAD, (f"{part.name}: {part.detail}",))
    for trouble in snapshot.troubles:
        tried = f", {_some(trouble.tries, 'attempt')}"
        yield Finding(
            Level.WATCH,
            (f"background work {trouble.part} has been failing for ", Since(trouble.since), tried),
            because=trouble.error,
        )
    if snapshot.alone:
        yield Finding(Level.WATCH, (f"breakers: {snapshot.alone}",))


def _breakers(snapshot: Snapshot) -> Iterator[Finding]:
    for view in snapshot.types:
        breaker = view.breaker
        name, since, waits = Name(view.name), Since(breaker.open_since or breaker.since), _waits(view)
        by_hand = f"{breaker.by}: {breaker.reason}"
        if breaker.state is BreakerState.OPEN:
            waits_for_probe = breaker.until > snapshot.at
            probe = (", next probe in ", Until(breaker.until)) if waits_for_probe else (", its next job is the probe",)
            yield Finding(Level.BAD, (name, " is OPEN for ", since, *_opened(view), *probe, waits), *_because(view))
        elif breaker.state is BreakerState.FORCED_OPEN:
            yield Finding(Level.BAD, (name, " is held OPEN for ", since, waits), because=by_hand)
        elif breaker.state is BreakerState.HALF_OPEN:
            probe = ("its probe is under way" if view.resting else "its next job is the probe",)
            yield Finding(Level.WATCH, (name, " is half-open: ", *probe, *_opened(view), waits), *_because(view))
        elif breaker.state is BreakerState.FORCED_CLOSED:
            yield Finding(Level.WATCH, (name, " is held closed for ", since, ", despite failures"), because=by_hand)
        elif view.figures.tried >= ENOUGH and view.figures.failed >= BAD_RATE * view.figures.tried:
            share = f" fails: {view.figures.failed} of the last {view.figures.tried} renders"
            yield Finding(Level.WATCH, (name, share), *_because(view))


def _opened(view: TypeView) -> Sentence:
    """Return when the breaker first opened, if probes have failed since."""
    breaker = view.breaker
    if not breaker.failed_probes:
        return ()
    return (", open since ", At(breaker.open_since), f", {_some(breaker.failed_probes, 'probe')} failed")


def _waits(view: TypeView) -> str:
    load = view.load
    if load is None or not load.waiting:
        return ", no jobs waiting" if load else ""
    if load.untried == load.waiting:
        return f", {load.waiting} waiting, no attempts used"
    return f", {load.waiting} waiting, {load.untried} of them untried"


def _because(view: TypeView) -> tuple[str, str]:
    last = view.breaker.faults[-1] if view.breaker.faults else ""
    return fault_of(last), "; ".join(text for text in (last, view.breaker.reason) if text)


def _backlog(snapshot: Snapshot) -> Iterator[Finding]:
    for view in snapshot.types:
        load = view.load or Load()
        if load.oldest_at is not None and not view.resting and snapshot.at - load.oldest_at > SLOW_SECONDS:
            waits = f": the oldest of {load.waiting} waits for "
            slots = f", {snapshot.busy} of {_some(snapshot.slots, 'slot')} busy"
            yield Finding(Level.WATCH, (Name(view.name), waits, Since(load.oldest_at), slots))


def _lost(snapshot: Snapshot) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if node.resent_at is not None and snapshot.at - node.resent_at < RESENT_SECONDS:
            lost = f"{_some(node.resent, 'message')} were lost and sent again, the last one "
            causes = "the queue was purged, a message outlived its retention, or a backup of the database was restored"
            yield Finding(Level.WATCH, (lost, Since(node.resent_at), " ago"), because=causes)


def _scale(snapshot: Snapshot) -> Iterator[Finding]:
    demand, seconds, live = snapshot.demand, snapshot.backlog_seconds, snapshot.live_nodes
    if demand is None or seconds is None:
        return
    wanted = demand.nodes_wanted or live
    if seconds <= demand.target_seconds and wanted <= _FEW * live:
        return
    jobs = f"{_some(demand.backlog, 'job')} in the queue will take {format_duration(seconds)}"
    target = f", scaling.target_seconds is {format_duration(demand.target_seconds)}"
    nodes = f"; {_some(wanted, 'node')} wanted, {live} there"
    if wanted > live:
        more = _some(wanted - live, "more node")
        advice = f"start {more} or give this one more slots; if renders have become slower"
    else:
        advice = "if renders have become slower"
    advice = f"{advice} (now {demand.render_seconds:.1f} s each), find out why; no jobs are lost"
    yield Finding(Level.WATCH, (jobs + target + nodes,), because=advice)


def _refused(snapshot: Snapshot) -> Iterator[Finding]:
    for view in snapshot.types:
        if view.figures.refused:
            refused = f": {_some(view.figures.refused, 'submission')} refused within 10 min"
            waits = f", {view.load.waiting} waiting" if view.load else ""
            yield Finding(Level.WATCH, (Name(view.name), refused, waits), because=_REFUSED)


def _nodes(snapshot: Snapshot) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if node.gone and node.seen_at is not None:
            yield Finding(Level.WATCH, (Name(node.name), " was last heard of ", Since(node.seen_at), " ago"))
        elif node.trouble and node.name != snapshot.here.name:
            yield Finding(Level.BAD, (Name(node.name), f": {node.trouble}"))


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
