"""Triage of a dead letter: the first rule in RULES that returns a verdict decides.

A letter belongs to a job, or to none. It is dropped, requeued, repaired, redriven or quarantined, or it waits: for its
cool-down, for the breaker, or for its turn. Waiting uses no redrive.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reportd.core.breaker.breaker import Breaker
from reportd.core.faults import Blame, Fault
from reportd.core.jobs.job import BadMessageError, Job, StoredJob, from_message
from reportd.core.jobs.retry import MAX_LOSSES, Tally
from reportd.core.jobs.transitions import TERMINAL, JobState
from reportd.core.repair.envelopes import Change
from reportd.core.repair.message import Known, derived_id, repair, repair_job

MAX_RETURNS = 20
"""How often an untried job goes back to its queue. Each return has cost the queue's ``max_receive_count`` receives, by
nodes that died before they could record a start."""


class Action(StrEnum):
    """``requeue``: the job is untried. ``redrive``: it has failed and is tried again."""

    DROP = "drop"
    REQUEUE = "requeue"
    REPAIR = "repair"
    WAIT = "wait"
    REDRIVE = "redrive"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class TriageVerdict:
    """What to do, and why. ``rule``: the name of the rule that decided."""

    action: Action
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class TriagePolicy:
    """``max_redrives``: per job. ``max_wait_seconds``: since the job's first failure. Durations in seconds."""

    cooldown_seconds: float = 60.0
    max_redrives: int = 2
    max_wait_seconds: float = 86400.0


@dataclass(frozen=True, slots=True)
class RawLetter:
    """A dead letter as received. ``attributes`` say who sent it to the DLQ and why."""

    body: str
    sent_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def original_at(self) -> float:
        """When the producer sent it. A copy that the daemon sent carries that time in ``sentAt``."""
        try:
            return float(self.attributes.get("sentAt", ""))
        except ValueError:
            return self.sent_at

    @property
    def id(self) -> str:
        """The id of a letter without a job."""
        return derived_id(self.body, self.original_at)


@dataclass(frozen=True, slots=True)
class LetterContent:
    """What a letter says.

    ``task_id`` without ``job``: only the job store can have the job. ``problem``: why the job can't be rendered, in
    words. ``changes``: the repairs that led to ``job``.
    """

    job: Job | None = None
    task_id: str | None = None
    problem: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class JobHistory:
    """What the database knows of the job. Times are seconds since the epoch.

    ``state``: None when there is no such job. ``redrives``: those that count; ``returns``: requeues while untried.
    ``turn``: this job may be the next one of its cause.
    """

    state: JobState | None = None
    fault: Fault | None = None
    tally: Tally = field(default_factory=Tally)
    redrives: int = 0
    returns: int = 0
    first_failed_at: float = 0.0
    last_failed_at: float = 0.0
    turn: bool = False


@dataclass(frozen=True, slots=True)
class TriageFacts:
    """The input of every rule."""

    reading: LetterContent
    history: JobHistory
    breaker: Breaker
    now: float
    policy: TriagePolicy


def read(letter: RawLetter, known: Known) -> LetterContent:
    """Parse a letter, and repair it where needed. ``read_job`` does the same for a job from the store."""
    try:
        message = from_message(letter.body)
    except BadMessageError as error:
        repaired = repair(letter.body, letter.original_at, known)
        if repaired is None:
            return LetterContent(problem=error.fault.detail)
        return LetterContent(repaired.job, repaired.job.task_id, error.fault.detail, repaired.changes)
    if isinstance(message, StoredJob):
        return LetterContent(task_id=message.task_id)
    return read_job(message, known)


def read_job(job: Job, known: Known) -> LetterContent:
    """Check the job against its report type, and repair it if that makes it acceptable."""
    problem = known.problems(job)
    repaired = repair_job(job, known) if problem else None
    if repaired is None:
        return LetterContent(job, job.task_id, problem)
    return LetterContent(repaired.job, job.task_id, problem, repaired.changes)


def number_in(letter: RawLetter, name: str) -> float | None:
    """Return an attribute's number, or its ISO 8601 time in seconds since the epoch; None when it is neither."""
    text = letter.attributes.get(name, "")
    try:
        return datetime.fromisoformat(text).timestamp() if "T" in text else float(int(text))
    except (ValueError, OverflowError, OSError):
        return None


def triage(case: TriageFacts) -> TriageVerdict:
    """Return the verdict of the first rule that has one."""
    verdicts = ((rule, rule(case)) for rule in RULES)
    # The last rule always has one.
    rule, verdict = next((rule, verdict) for rule, verdict in verdicts if verdict)
    return TriageVerdict(verdict.action, verdict.reason, rule.__name__)


# --- the rules, in their order ----------------------------------------------------------------------------------

Rule = Callable[[TriageFacts], TriageVerdict | None]


def settled(case: TriageFacts) -> TriageVerdict | None:
    """The job has ended: this is a second letter, or a late one."""
    state = case.history.state
    return TriageVerdict(Action.DROP, f"the job is {state}") if state in TERMINAL else None


def no_job(case: TriageFacts) -> TriageVerdict | None:
    """No repair turns the letter into a job."""
    return TriageVerdict(Action.QUARANTINE, case.reading.problem) if case.reading.task_id is None else None


def lost(case: TriageFacts) -> TriageVerdict | None:
    """The message was too large to carry the parameters, and the job store does not have them."""
    if case.reading.job is None:
        # Stored signatures are made of this text, and the worker's fault has the same one.
        return TriageVerdict(Action.QUARANTINE, "its parameters are in the job store no more")
    return None


def repairable(case: TriageFacts) -> TriageVerdict | None:
    """A job that needs a repair can't have been rendered, unless a sound message of it came, too."""
    if not case.reading.changes or case.history.state in (JobState.QUEUED, JobState.RUNNING):
        return None
    repairs = ", ".join(dict.fromkeys(f"{change.where} {change.what}" for change in case.reading.changes))
    return TriageVerdict(Action.REPAIR, repairs)


def unfit(case: TriageFacts) -> TriageVerdict | None:
    """Its report type rejects it, or there is no such type. While it is queued or running, a worker decides."""
    if not case.reading.problem or case.history.state in (JobState.QUEUED, JobState.RUNNING):
        return None
    return TriageVerdict(Action.QUARANTINE, case.reading.problem)


def returned_too_often(case: TriageFacts) -> TriageVerdict | None:
    """Every node that received it died before it could record a start."""
    if not _tried(case) and case.history.returns >= MAX_RETURNS:
        return TriageVerdict(Action.QUARANTINE, f"it came back {case.history.returns} times without having been tried")
    return None


def untried(case: TriageFacts) -> TriageVerdict | None:
    """The queue's redrive policy moved it here, or a node did that does not know its type yet (I3)."""
    return None if _tried(case) else TriageVerdict(Action.REQUEUE, "nobody has tried it")


def poison(case: TriageFacts) -> TriageVerdict | None:
    """A job gets no third browser (I5)."""
    losses = case.history.tally.losses
    return TriageVerdict(Action.QUARANTINE, f"its browser died {losses} times") if losses >= MAX_LOSSES else None


def permanent(case: TriageFacts) -> TriageVerdict | None:
    """The cause is not transient, so the job would fail again."""
    fault = case.history.fault
    if fault is None or not fault.nature.transient:
        return TriageVerdict(Action.QUARANTINE, f"{fault.kind if fault else 'the cause'} does not pass by itself")
    return None


def spent(case: TriageFacts) -> TriageVerdict | None:
    """The job has used all its redrives."""
    redrives = case.history.redrives
    if redrives >= case.policy.max_redrives:
        return TriageVerdict(Action.QUARANTINE, f"it was tried again {redrives} times in vain")
    return None


def outlasted(case: TriageFacts) -> TriageVerdict | None:
    """The job has waited for ``max_wait_seconds``; its user needs an answer."""
    waited = case.now - case.history.first_failed_at
    if waited >= case.policy.max_wait_seconds:
        return TriageVerdict(Action.QUARANTINE, f"its cause has not passed in {waited / 3600:.1f} h")
    return None


def cooling(case: TriageFacts) -> TriageVerdict | None:
    """Some causes end during the cool-down."""
    left = case.history.last_failed_at + case.policy.cooldown_seconds - case.now
    return TriageVerdict(Action.WAIT, "its cool-down is not over") if left > 0 else None


def resting(case: TriageFacts) -> TriageVerdict | None:
    """While the breaker is open, the job would only be deferred."""
    return TriageVerdict(Action.WAIT, "the breaker is open") if case.breaker.rests(case.now) else None


def in_line(case: TriageFacts) -> TriageVerdict | None:
    """A canary goes first; the others follow if it succeeds."""
    return None if case.history.turn else TriageVerdict(Action.WAIT, "it waits for its turn")


def its_turn(_: TriageFacts) -> TriageVerdict:
    return TriageVerdict(Action.REDRIVE, "its cause may have passed")


RULES: tuple[Rule, ...] = (
    settled,
    no_job,
    lost,
    repairable,
    unfit,
    returned_too_often,
    untried,
    poison,
    permanent,
    spent,
    outlasted,
    cooling,
    resting,
    in_line,
    its_turn,
)


def _tried(case: TriageFacts) -> bool:
    """Return whether the job is dead-lettered by anything but a fault of its message.

    Such a fault, found by another node, no longer applies if no rule before this one repeats it.
    """
    fault = case.history.fault
    if case.history.state is not JobState.DEAD_LETTERED:
        return False
    return fault is None or fault.nature.blame is not Blame.MESSAGE
