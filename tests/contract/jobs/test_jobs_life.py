"""One job's whole life, whatever happens in which order, against a model in plain Python."""

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportd.core.jobs.retry import Tally, may_start
from reportd.core.jobs.transitions import TRANSITIONS, JobEvent, JobState
from reportd.ports import AttemptStarted, Jobs
from tests.contract.jobs.jobs_lab import CRASH, NOON, PDF, TIMEOUT, a_job, recorded, settled

OWNERS_ONLY = (JobEvent.RETRIED, JobEvent.RELEASED, JobEvent.DEFERRED, JobEvent.DEAD_LETTERED)


@dataclass
class Model:
    """What a store should know; ``attempts`` holds their outcomes, None for the open one."""

    state: JobState = JobState.QUEUED
    tally: Tally = field(default_factory=Tally)
    attempts: list[str | None] = field(default_factory=list)

    def start(self) -> bool:
        if (self.state, JobEvent.STARTED) not in TRANSITIONS:
            return False
        lost = self.attempts.count(None)
        self.attempts = [outcome or "node_lost" for outcome in self.attempts]
        self.tally = replace(
            self.tally, attempts=max(0, self.tally.attempts - lost), node_losses=self.tally.node_losses + lost
        )
        if may_start(self.tally):
            return False
        self.state = JobState.RUNNING
        self.tally = replace(self.tally, attempts=self.tally.attempts + 1)
        self.attempts.append(None)
        return True

    def settle(self, event: JobEvent, place: int | None, *, counted: bool, loss: bool) -> JobState | None:
        state = TRANSITIONS.get((self.state, event))
        own = place is not None and self.attempts[place] is None
        if state is None or (place is not None and not own and event in OWNERS_ONLY):
            return None
        outcome = {JobEvent.RETRIED: "browser_lost" if loss else "timeout", JobEvent.DEAD_LETTERED: "timeout"}
        if own and place is not None:
            self.attempts[place] = outcome.get(event, str(event))
        lost = self.attempts.count(None) if place is None and event is JobEvent.DEFERRED else 0
        if place is None or event not in OWNERS_ONLY:
            self.attempts = [outcome or ("node_lost" if lost else "cancelled") for outcome in self.attempts]
        uncounted = place is not None and not counted
        self.tally = replace(
            self.tally,
            attempts=max(0, self.tally.attempts - uncounted - lost),
            node_losses=self.tally.node_losses + lost,
            uncounted=self.tally.uncounted + (uncounted and event is JobEvent.RETRIED),
            deferrals=self.tally.deferrals + (event is JobEvent.DEFERRED),
            losses=self.tally.losses + loss,
        )
        self.state = state
        return state

    def revive(self) -> bool:
        if self.state is not JobState.QUARANTINED:
            return False
        self.state, self.tally = JobState.QUEUED, Tally()
        return True


SETTLED = [event for event in JobEvent if event not in (JobEvent.STARTED, JobEvent.REVIVED)]
STEPS = st.lists(
    st.one_of(
        st.just(JobEvent.STARTED),
        st.just(JobEvent.REVIVED),
        st.tuples(st.sampled_from(SETTLED), st.one_of(st.none(), st.integers(0, 5)), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_a_job_lives_as_the_model_does(jobs: Jobs, steps: list[object]) -> None:
    job, model, ids = a_job(), Model(), list[int]()
    await jobs.add([job])
    for number, step in enumerate(steps):
        at = NOON + number
        if step is JobEvent.STARTED:
            outcome = await jobs.start(job, "node", at)
            assert isinstance(outcome, AttemptStarted) is model.start()
            if isinstance(outcome, AttemptStarted):
                ids.append(outcome.attempt_id)
        elif step is JobEvent.REVIVED:
            assert (await jobs.revive(job.task_id) is not None) is model.revive()
        else:
            assert isinstance(step, tuple)
            event, place, odd = step
            place = None if place is None or not ids else place % len(ids)
            loss = odd and event is JobEvent.RETRIED
            fields = {
                "fault": (CRASH if loss else TIMEOUT) if event in (JobEvent.RETRIED, JobEvent.DEAD_LETTERED) else None,
                "pdf": PDF if event is JobEvent.SUCCEEDED else None,
                "attempt_id": None if place is None else ids[place],
                "counted": not odd,
                "loss": loss,
            }
            expected = model.settle(event, place, counted=not odd, loss=loss)
            assert await settled(jobs, job, event, at=at, **fields) is expected
        record = await recorded(jobs, job)
        assert (record.state, record.tally) == (model.state, model.tally)
        assert [attempt.outcome for attempt in await jobs.attempts(job.task_id)] == model.attempts
