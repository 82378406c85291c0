"""Empties the dead-letter queue: for each letter read it, decide (``core.dead_letters.triage``), act, then delete it.

Letters that wait for a redrive are kept in the database: there they don't expire, need no receive, and can be selected.
If triage is cut off anywhere, it may be repeated. Several nodes may do it at once.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Protocol

import structlog
import trio

from reportd.concurrency.periodic import periodically
from reportd.concurrency.supervisor import Supervisor
from reportd.core.breaker.breaker import Breaker
from reportd.core.dead_letters.triage import (
    Action,
    JobHistory,
    LetterContent,
    RawLetter,
    TriageFacts,
    TriagePolicy,
    TriageVerdict,
    number_in,
    triage,
)
from reportd.core.faults import stored_fault
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState
from reportd.dead_letters.quarantine import Quarantine, copy_of
from reportd.dead_letters.redrive import Redriver
from reportd.ports import (
    NULL_METER,
    Audit,
    AuditEntry,
    DeadLetter,
    DeadLetters,
    Jobs,
    LetterStatus,
    Meter,
    Queue,
    Received,
    Record,
    Redrive,
    Settlement,
    UnavailableError,
)
from reportd.work.messages import resend_job

TROUBLE = "dead letters"
"""The name of its trouble on the status page."""

WAIT_SECONDS = 20.0
"""The longest poll of SQS."""

BATCH = 10
"""The most messages SQS returns at once."""

MAX_BATCHES = 50
"""The most batches of a round. The remaining letters wait for the next round."""

REST_SECONDS = 0.8
"""The pause after a batch, which takes some 40 ms of a core. So a flood of letters costs two busy slots less than 3 %.
"""

MAX_INTERNAL_ERRORS = 5
"""Quarantine a letter after our own code has failed on it so often."""

log = structlog.get_logger()


class Breakers(Protocol):
    """The cached breakers of the report types."""

    def snapshot(self) -> list[Breaker]: ...

    def resting(self) -> frozenset[str]: ...


class Reader(Protocol):
    """Reads and repairs letters, see ``reader``."""

    async def letter(self, letter: RawLetter) -> LetterContent: ...

    async def job(self, job: Job) -> LetterContent: ...


class Triage:
    """``run`` keeps two loops going: one for the letters in the DLQ, one for those that wait in the database."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        dead: Queue,
        letters: DeadLetters,
        quarantine: Quarantine,
        breakers: Breakers,
        reader: Reader,
        audit: Audit,
        policy: TriagePolicy,
        interval_seconds: float,
        node: str,
        meter: Meter = NULL_METER,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redriver = Redriver(
            jobs=jobs,
            queue=queue,
            letters=letters,
            quarantine=quarantine,
            breaker_of=self._breaker,
            audit=audit,
            policy=policy,
            lease_seconds=interval_seconds,
            node=node,
            clock=clock,
        )
        self._jobs = jobs
        self._queue = queue
        self._dead = dead
        self._letters = letters
        self._quarantine = quarantine
        self._breakers = breakers
        self._reader = reader
        self._audit = audit
        self._policy = policy
        self._interval_seconds = interval_seconds
        self._node = node
        self._meter = meter
        self._supervisor = supervisor or Supervisor()
        self._clock = clock

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for part, work in (("triage", self._run_round), ("canaries", self._redriver.run_round)):
                nursery.start_soon(self._supervisor.keep, part, partial(periodically, self._interval_seconds, work))

    async def _run_round(self) -> None:
        """Settle letters. No other part receives from the DLQ, so this one reports when that fails."""
        try:
            await self.settle_visible(WAIT_SECONDS)
        except UnavailableError as error:
            self._supervisor.failed(TROUBLE, str(error))
            raise
        self._supervisor.recovered(TROUBLE)

    async def settle_visible(self, wait_seconds: float = 0.0) -> None:
        """Settle the letters that are visible now. If there are none, wait up to ``wait_seconds`` for the first."""
        for _ in range(MAX_BATCHES):
            letters = await self._dead.receive(BATCH, wait_seconds)
            if not letters:
                return
            wait_seconds = 0.0
            outages: list[UnavailableError] = []
            async with trio.open_nursery() as nursery:
                for received in letters:
                    nursery.start_soon(self._handle, received, outages)
            if outages:
                raise outages[0]
            await trio.sleep(REST_SECONDS)

    async def _handle(self, received: Received, outages: list[UnavailableError]) -> None:
        """Settle one letter. An error affects no other letter; this one becomes visible again."""
        try:
            try:
                await self._settle(received)
            except UnavailableError:
                raise
            except Exception as error:
                log.exception("dead_letter.failed", receiveCount=received.receive_count)
                if received.receive_count >= MAX_INTERNAL_ERRORS:
                    await self._settle(received, f"{type(error).__name__} in the daemon; see its log")
        except UnavailableError as error:
            outages.append(error)
        except Exception:
            log.exception("dead_letter.stuck", receiveCount=received.receive_count)

    async def _settle(self, received: Received, internal_error: str = "") -> None:
        """Read, decide, act, delete. ``internal_error``: the reason to quarantine the letter against the rules."""
        letter = RawLetter(received.body, received.sent_at, received.attributes)
        facts, record = await self._facts(letter)
        verdict = triage(facts)
        if internal_error and verdict.action is not Action.DROP:
            verdict = TriageVerdict(Action.QUARANTINE, internal_error, "trouble")
        copy = copy_of(letter, facts, verdict, record)
        log.info("dead_letter.judged", letter=copy.id, verdict=verdict.action, rule=verdict.rule, reason=verdict.reason)
        if await self._act(verdict, copy, facts.reading, record):
            self._meter.triage_verdict(verdict.action)
            await self._dead.delete([received.receipt])

    async def _facts(self, letter: RawLetter) -> tuple[TriageFacts, Record | None]:
        """Return what the rules need, and the record of the letter's job, if there is one."""
        reading = await self._reader.letter(letter)
        record = await self._jobs.get(reading.task_id) if reading.task_id else None
        if record is not None:
            reading = await self._reader.job(record.job)
        kept = await self._letters.get(record.job.task_id) if record and record.state not in TERMINAL else None
        breaker = self._breaker(reading.job.report_type if reading.job else "")
        history = self._history(letter, record, kept)
        return TriageFacts(reading, history, breaker, self._clock(), self._policy), record

    def _history(self, letter: RawLetter, record: Record | None, kept: DeadLetter | None) -> JobHistory:
        now = self._clock()
        redrives_in_letter = int(number_in(letter, "redrives") or 0)
        first_failed_at = min(now, number_in(letter, "firstFailedAt") or now)
        return JobHistory(
            state=record.state if record else None,
            fault=record.error if record else None,
            tally=record.tally if record else Tally(),
            redrives=max(redrives_in_letter, kept.redrives if kept else 0),
            returns=kept.returns if kept else 0,
            first_failed_at=kept.first_seen_at if kept else first_failed_at,
            last_failed_at=min(now, letter.sent_at),
        )

    def _breaker(self, report_type: str) -> Breaker:
        """Return the type's breaker, with ``until`` infinite if it admits no job now, else 0.

        Its real times are by the clock of the breaker store, which differs from this node's.
        """
        matching = (breaker for breaker in self._breakers.snapshot() if breaker.report_type == report_type)
        until = math.inf if report_type in self._breakers.resting() else 0.0
        return replace(next(matching, Breaker(report_type)), until=until, lease_until=0.0)

    # --- acting -----------------------------------------------------------------------------------------------

    async def _act(
        self, verdict: TriageVerdict, copy: DeadLetter, reading: LetterContent, record: Record | None
    ) -> bool:
        """Apply the verdict. Return False when the job has changed meanwhile, so that the letter is judged again."""
        match verdict.action:
            case Action.DROP:
                await self._record("dropped", copy, {"reason": verdict.reason})
                return True
            case Action.REQUEUE | Action.REPAIR if reading.job is not None:
                return await self._put_back(copy, reading, reading.job, record)
            case Action.QUARANTINE:
                await self._give_up(copy, reading, record)
                return await self._quarantine.add(copy)
            case _:
                return await self._letters.keep(copy)

    async def _put_back(self, copy: DeadLetter, reading: LetterContent, job: Job, record: Record | None) -> bool:
        """Put the job back into its queue, repaired if necessary. Return False when it is no longer dead-lettered.

        Write the row first, then send the message; if this is cut off in between, the janitor sends it. If the queue
        still has a message of the job, a second one does no harm (I6).
        """
        if record is None:
            (record,) = await self._jobs.add([job])
        if not reading.changes:
            copy = replace(copy, standing=LetterStatus.UNDERWAY, returns=copy.returns + 1)
            await self._letters.keep(copy)
        if record.state is JobState.DEAD_LETTERED:
            repaired = job if reading.changes else None
            released = await self._letters.release([Redrive(job.task_id, own=False, job=repaired)], self._clock())
            if not released:
                return False
            (record,) = released
        await resend_job(self._queue, record.job)
        await self._jobs.confirm([job.task_id])
        await self._record_put_back(copy, reading)
        return True

    async def _record_put_back(self, copy: DeadLetter, reading: LetterContent) -> None:
        if reading.changes:
            changes = [asdict(change) for change in reading.changes]
            await self._record("repaired", copy, {"problem": reading.problem, "changes": changes})
        else:
            await self._record("requeued", copy, {"reason": copy.reason, "returns": copy.returns})

    async def _give_up(self, copy: DeadLetter, reading: LetterContent, record: Record | None) -> None:
        """Dead-letter the job in the job store, unless that is done, so that it can be quarantined."""
        if copy.task_id is None or (record is not None and record.state is JobState.DEAD_LETTERED):
            return
        if record is None and reading.job is not None:
            await self._jobs.add([reading.job])
        fault = stored_fault(copy.kind, copy.detail)
        await self._jobs.settle(Settlement(copy.task_id, JobEvent.DEAD_LETTERED, self._clock(), fault=fault))

    async def _record(self, verb: str, copy: DeadLetter, detail: dict[str, object]) -> None:
        await self._audit.record([AuditEntry(self._clock(), self._node, f"dead_letter.{verb}", copy.id, detail)])
