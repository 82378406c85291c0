"""The life of a job as a table: which event leads from which state to which."""

from enum import StrEnum


class JobState(StrEnum):
    """``queued`` with ``attempts > 0`` is a retry; ``dead_lettered`` waits for triage."""

    QUEUED = "queued"
    RUNNING = "running"
    DEAD_LETTERED = "dead_lettered"
    SUCCEEDED = "succeeded"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What happens to a job."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    RELEASED = "released"
    DEFERRED = "deferred"
    DEAD_LETTERED = "dead_lettered"
    REDRIVEN = "redriven"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"
    REVIVED = "revived"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.QUARANTINED, JobState.CANCELLED})

TRANSITIONS: dict[tuple[JobState, JobEvent], JobState] = {
    (JobState.QUEUED, JobEvent.STARTED): JobState.RUNNING,
    # A node that lost the message to another one may still be the first to finish: its PDF is as good.
    (JobState.QUEUED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.QUEUED, JobEvent.DEFERRED): JobState.QUEUED,
    (JobState.QUEUED, JobEvent.DEAD_LETTERED): JobState.DEAD_LETTERED,
    (JobState.QUEUED, JobEvent.CANCELLED): JobState.CANCELLED,
    # A start that finds a start is a redelivery after a crash.
    (JobState.RUNNING, JobEvent.STARTED): JobState.RUNNING,
    (JobState.RUNNING, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.RUNNING, JobEvent.RETRIED): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.RELEASED): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.DEFERRED): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.DEAD_LETTERED): JobState.DEAD_LETTERED,
    (JobState.RUNNING, JobEvent.CANCELLED): JobState.CANCELLED,
    (JobState.DEAD_LETTERED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.DEAD_LETTERED, JobEvent.REDRIVEN): JobState.QUEUED,
    (JobState.DEAD_LETTERED, JobEvent.QUARANTINED): JobState.QUARANTINED,
    (JobState.DEAD_LETTERED, JobEvent.CANCELLED): JobState.CANCELLED,
    (JobState.QUARANTINED, JobEvent.REVIVED): JobState.QUEUED,
}


class IllegalTransitionError(Exception):
    """This event can't happen in this state; nothing was changed."""

    def __init__(self, state: JobState, event: JobEvent) -> None:
        super().__init__(f"a job that is {state} can't be {event}")
        self.state = state
        self.event = event


def after(state: JobState, event: JobEvent) -> JobState:
    """The state that follows, or IllegalTransitionError."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


def sources(event: JobEvent) -> tuple[JobState, ...]:
    """The states in which an event may happen: the condition of a compare-and-set."""
    return tuple(state for state, possible in TRANSITIONS if possible is event)
