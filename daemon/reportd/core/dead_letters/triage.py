"""What becomes of a dead letter: the first rule in RULES that has something to say decides.

A letter is about a job, or about none. It is dropped, put back, repaired, redriven or quarantined, or it waits: for
its cool-down, for the breaker, for its turn. Waiting is nobody's redrive.
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
"""How often a job that nobody tried goes back to its queue. Each time has cost the queue's ``max_receive_count``
receives, by nodes that died before they could so much as record a start."""


class Action(StrEnum):
    """``requeue``: nobody has tried it. ``redrive``: it has failed, and is tried again."""

    DROP = "drop"
    REQUEUE = "requeue"
    REPAIR = "repair"
    WAIT = "wait"
    REDRIVE = "redrive"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class TriageVerdict:
    """What to do, and why. ``rule`` is the name of the one that decided."""

    action: Action
    reason: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class TriagePolicy:
    """``max_redrives`` of a job's own; ``max_wait_seconds`` from its first failure on. Durations in seconds."""

    cooldown_seconds: float = 60.0
    max_redrives: int = 2
    max_wait_seconds: float = 86400.0


@dataclass(frozen=True, slots=True)
class RawLetter:
    """A dead letter as it was received. ``attributes`` say who sent it here and why."""

    body: str
    sent_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def original_at(self) -> float:
        """When its producer sent it. A copy that the daemon has sent here says when that was."""
        try:
            return float(self.attributes.get("sentAt", ""))
        except ValueError:
            return self.sent_at

    @property
    def id(self) -> str:
        """Of a letter that is about no job."""
        return derived_id(self.body, self.original_at)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a letter, or the job it is about, says.

    ``task_id`` without a job: the job is in the store, if anywhere. ``problem``: what kept it from being rendered, in
    words. ``changes``: what had to be repaired in it to get at ``job``.
    """

    job: Job | None = None
    task_id: str | None = None
    problem: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class JobHistory:
    """What the database knows. Times are seconds since the epoch.

    ``state``: None when there is no such job. ``redrives`` are its own, ``returns`` those of a job that nobody tried.
    ``turn``: its cause may be tried again with this one.
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
    """All that a rule may look at."""

    reading: Reading
    history: JobHistory
    breaker: Breaker
    now: float
    policy: TriagePolicy


def read(letter: RawLetter, known: Known) -> Reading:
    """What the letter says, repaired where need be. Its job, if there is a record of it, is read by ``read_job``."""
    try:
        carried = from_message(letter.body)
    except BadMessageError as error:
        repaired = repair(letter.body, letter.original_at, known)
        if repaired is None:
            return Reading(problem=error.fault.detail)
        return Reading(repaired.job, repaired.job.task_id, error.fault.detail, repaired.changes)
    if isinstance(carried, StoredJob):
        return Reading(task_id=carried.task_id)
    return read_job(carried, known)


def read_job(job: Job, known: Known) -> Reading:
    """Whether its report type accepts it, or would with a repair."""
    problem = known.problems(job)
    repaired = repair_job(job, known) if problem else None
    if repaired is None:
        return Reading(job, job.task_id, problem)
    return Reading(repaired.job, job.task_id, problem, repaired.changes)


def number_in(letter: RawLetter, name: str) -> float | None:
    """What an attribute of a letter counts, or a time in it; None when it says nothing that can be understood."""
    text = letter.attributes.get(name, "")
    try:
        return datetime.fromisoformat(text).timestamp() if "T" in text else float(int(text))
    except (ValueError, OverflowError, OSError):
        return None


def triage(case: TriageFacts) -> TriageVerdict:
    """The verdict of the first rule that has one."""
    verdicts = ((rule, rule(case)) for rule in RULES)
    # The last rule has one on everything.
    rule, verdict = next((rule, verdict) for rule, verdict in verdicts if verdict)
    return TriageVerdict(verdict.action, verdict.reason, rule.__name__)


# --- the rules, in their order ----------------------------------------------------------------------------------

Rule = Callable[[TriageFacts], TriageVerdict | None]


def settled(case: TriageFacts) -> TriageVerdict | None:
    """A second letter, or one that came late."""
    state = case.history.state
    return TriageVerdict(Action.DROP, f"the job is {state}") if state in TERMINAL else None


def no_job(case: TriageFacts) -> TriageVerdict | None:
    """No repair makes a job of it."""
    return TriageVerdict(Action.QUARANTINE, case.reading.problem) if case.reading.task_id is None else None


def lost(case: TriageFacts) -> TriageVerdict | None:
    """Its message was too large to carry the parameters, and the store does not know them."""
    if case.reading.job is None:
        return TriageVerdict(Action.QUARANTINE, "its parameters are in the job store no more")
    return None


def repairable(case: TriageFacts) -> TriageVerdict | None:
    """Such a job can't have been rendered, unless a sound message of it came, too."""
    if not case.reading.changes or case.history.state in (JobState.QUEUED, JobState.RUNNING):
        return None
    told = ", ".join(dict.fromkeys(f"{change.where} {change.what}" for change in case.reading.changes))
    return TriageVerdict(Action.REPAIR, told)


def unfit(case: TriageFacts) -> TriageVerdict | None:
    """Its report type does not accept it, or there is no such type. A worker may know better."""
    if not case.reading.problem or case.history.state in (JobState.QUEUED, JobState.RUNNING):
        return None
    return TriageVerdict(Action.QUARANTINE, case.reading.problem)


def returned_too_often(case: TriageFacts) -> TriageVerdict | None:
    """No node survived so much as receiving it."""
    if not _tried(case) and case.history.returns >= MAX_RETURNS:
        return TriageVerdict(Action.QUARANTINE, f"it came back {case.history.returns} times without having been tried")
    return None


def untried(case: TriageFacts) -> TriageVerdict | None:
    """The queue's own redrive took it away, or a node that does not know its type yet gave it up (I3)."""
    return None if _tried(case) else TriageVerdict(Action.REQUEUE, "nobody has tried it")


def poison(case: TriageFacts) -> TriageVerdict | None:
    """It is given no third browser (I5)."""
    losses = case.history.tally.losses
    return TriageVerdict(Action.QUARANTINE, f"its browser died {losses} times") if losses >= MAX_LOSSES else None


def permanent(case: TriageFacts) -> TriageVerdict | None:
    """It would fail again."""
    fault = case.history.fault
    if fault is None or not fault.nature.transient:
        return TriageVerdict(Action.QUARANTINE, f"{fault.kind if fault else 'the cause'} does not pass by itself")
    return None


def spent(case: TriageFacts) -> TriageVerdict | None:
    """The cause has passed for others, not for this one."""
    redrives = case.history.redrives
    if redrives >= case.policy.max_redrives:
        return TriageVerdict(Action.QUARANTINE, f"it was tried again {redrives} times in vain")
    return None


def outlasted(case: TriageFacts) -> TriageVerdict | None:
    """Somebody waits for an answer."""
    waited = case.now - case.history.first_failed_at
    if waited >= case.policy.max_wait_seconds:
        return TriageVerdict(Action.QUARANTINE, f"its cause has not passed in {waited / 3600:.1f} h")
    return None


def cooling(case: TriageFacts) -> TriageVerdict | None:
    """Time heals some of them."""
    left = case.history.last_failed_at + case.policy.cooldown_seconds - case.now
    return TriageVerdict(Action.WAIT, "its cool-down is not over") if left > 0 else None


def resting(case: TriageFacts) -> TriageVerdict | None:
    """It would only be put off."""
    return TriageVerdict(Action.WAIT, "the breaker is open") if case.breaker.rests(case.now) else None


def in_line(case: TriageFacts) -> TriageVerdict | None:
    """One goes first, and the rest follow if it succeeds."""
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
    """Whether it failed by more than what somebody took to be its message's fault, and is not any more."""
    fault = case.history.fault
    if case.history.state is not JobState.DEAD_LETTERED:
        return False
    return fault is None or fault.nature.blame is not Blame.MESSAGE
