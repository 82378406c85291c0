"""The life of a job as a table: which event leads from which state to which."""

from enum import StrEnum


class State(StrEnum):
    """``queued`` with ``attempts > 0`` is a retry; ``dead_lettered`` waits for triage."""

    QUEUED = "queued"
    RUNNING = "running"
    DEAD_LETTERED = "dead_lettered"
    SUCCEEDED = "succeeded"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


class Event(StrEnum):
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


TERMINAL = frozenset({State.SUCCEEDED, State.QUARANTINED, State.CANCELLED})

TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.STARTED): State.RUNNING,
    # A node that lost the message to another one may still be the first to finish: its PDF is as good.
    (State.QUEUED, Event.SUCCEEDED): State.SUCCEEDED,
    (State.QUEUED, Event.DEFERRED): State.QUEUED,
    (State.QUEUED, Event.DEAD_LETTERED): State.DEAD_LETTERED,
    (State.QUEUED, Event.CANCELLED): State.CANCELLED,
    # A start that finds a start is a redelivery after a crash.
    (State.RUNNING, Event.STARTED): State.RUNNING,
    (State.RUNNING, Event.SUCCEEDED): State.SUCCEEDED,
    (State.RUNNING, Event.RETRIED): State.QUEUED,
    (State.RUNNING, Event.RELEASED): State.QUEUED,
    (State.RUNNING, Event.DEFERRED): State.QUEUED,
    (State.RUNNING, Event.DEAD_LETTERED): State.DEAD_LETTERED,
    (State.RUNNING, Event.CANCELLED): State.CANCELLED,
    (State.DEAD_LETTERED, Event.SUCCEEDED): State.SUCCEEDED,
    (State.DEAD_LETTERED, Event.REDRIVEN): State.QUEUED,
    (State.DEAD_LETTERED, Event.QUARANTINED): State.QUARANTINED,
    (State.DEAD_LETTERED, Event.CANCELLED): State.CANCELLED,
    (State.QUARANTINED, Event.REVIVED): State.QUEUED,
}


class IllegalTransitionError(Exception):
    """This event can't happen in this state; nothing was changed."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"a job that is {state} can't be {event}")
        self.state = state
        self.event = event


def after(state: State, event: Event) -> State:
    """The state that follows, or IllegalTransitionError."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransitionError(state, event) from None


def sources(event: Event) -> tuple[State, ...]:
    """The states in which an event may happen: the condition of a compare-and-set."""
    return tuple(state for state, possible in TRANSITIONS if possible is event)
