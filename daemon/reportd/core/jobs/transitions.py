"""The states of a job, and the table of its legal transitions."""

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
    # A node whose message was redelivered to another node may still finish first; its PDF is as good.
    (JobState.QUEUED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.QUEUED, JobEvent.DEFERRED): JobState.QUEUED,
    (JobState.QUEUED, JobEvent.DEAD_LETTERED): JobState.DEAD_LETTERED,
    (JobState.QUEUED, JobEvent.CANCELLED): JobState.CANCELLED,
    # A second start is a redelivery after a crash.
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
    """The event is not legal in this state; nothing has changed."""

    def __init__(self, state: JobState, event: JobEvent) -> None:
        super().__init__(f"a job that is {state} can't be {event}")
        self.state = state
        self.event = event


def after(state: JobState, event: JobEvent) -> JobState:
    """Return the state after the event. Raises IllegalTransitionError."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


def sources(event: JobEvent) -> tuple[JobState, ...]:
    """Return the states in which an event is legal: the condition of a compare-and-set."""
    return tuple(state for state, legal in TRANSITIONS if legal is event)
