"""The dead-letter queue, letter by letter: read it, decide (``core.dead_letters.triage``), act, delete it last.

No letter stays in the DLQ: what waits to be tried again waits in the database, where it does not expire, costs no
receive, and can be chosen from. May be cut off anywhere and done again, and by several nodes at once.
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
    RawLetter,
    Reading,
    TriageFacts,
    TriagePolicy,
    TriageVerdict,
    number_in,
    triage,
)
from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.retry import Tally
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState
from reportd.dead_letters.quarantine import Quarantine, copy_of
from reportd.dead_letters.redrive import Redriver
from reportd.ports import (
    SILENT,
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

WAIT_SECONDS = 20.0
BATCH = 10
MAX_BATCHES = 50
"""Of a round. Then the rest waits for the next one."""

REST_SECONDS = 0.8
"""After a batch, which takes some 40 ms of a core: so a flood of letters costs two busy slots less than 3 %."""

PATIENCE = 5
"""How often a letter is received at which the daemon itself fails, before it is left to people."""

log = structlog.get_logger()


class Breakers(Protocol):
    """What is remembered of the report types' breakers."""

    def snapshot(self) -> list[Breaker]: ...

    def resting(self) -> frozenset[str]: ...


class Reader(Protocol):
    """Knows what a letter says, see ``letters``."""

    async def letter(self, letter: RawLetter) -> Reading: ...

    async def job(self, job: Job) -> Reading: ...


class Triage:
    """``run`` keeps both loops going: the one for the letters that come, and the one for those that wait."""

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
        meter: Meter = SILENT,
        supervisor: Supervisor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.canaries = Redriver(
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
            for part, work in (("triage", partial(self.sort, WAIT_SECONDS)), ("canaries", self.canaries.go)):
                nursery.start_soon(self._supervisor.keep, part, partial(periodically, self._interval_seconds, work))

    async def sort(self, wait_seconds: float = 0.0) -> None:
        """Go through the letters that are visible now, or are the first to come within ``wait_seconds``."""
        for _ in range(MAX_BATCHES):
            letters = await self._dead.receive(BATCH, wait_seconds)
            if not letters:
                return
            wait_seconds = 0.0
            troubles: list[UnavailableError] = []
            async with trio.open_nursery() as nursery:
                for received in letters:
                    nursery.start_soon(self._try, received, troubles)
            if troubles:
                raise troubles[0]
            await trio.sleep(REST_SECONDS)

    async def _try(self, received: Received, troubles: list[UnavailableError]) -> None:
        """One letter. What goes wrong with it is no matter of the others'; it will be visible again."""
        try:
            try:
                await self._settle(received)
            except UnavailableError:
                raise
            except Exception as error:
                log.exception("dead_letter.failed", receiveCount=received.receive_count)
                if received.receive_count >= PATIENCE:
                    await self._settle(received, f"{type(error).__name__} in the daemon; see its log")
        except UnavailableError as error:
            troubles.append(error)
        except Exception:
            log.exception("dead_letter.stuck", receiveCount=received.receive_count)

    async def _settle(self, received: Received, trouble: str = "") -> None:
        """``trouble``: why it is to be quarantined, whatever the rules say."""
        letter = RawLetter(received.body, received.sent_at, received.attributes)
        reading = await self._reader.letter(letter)
        record = await self._jobs.get(reading.task_id) if reading.task_id else None
        if record is not None:
            reading = await self._reader.job(record.job)
        kept = await self._letters.get(record.job.task_id) if record and record.state not in TERMINAL else None
        breaker = self._breaker(reading.job.report_type if reading.job else "")
        case = TriageFacts(reading, self._history(letter, record, kept), breaker, self._clock(), self._policy)
        verdict = triage(case)
        if trouble and verdict.action is not Action.DROP:
            verdict = TriageVerdict(Action.QUARANTINE, trouble, "trouble")
        copy = copy_of(letter, case, verdict, record)
        log.info("dead_letter.judged", letter=copy.id, verdict=verdict.action, rule=verdict.rule, reason=verdict.reason)
        if await self._act(verdict, copy, reading, record):
            self._meter.triage_verdict(verdict.action)
            await self._dead.delete([received.receipt])

    def _history(self, letter: RawLetter, record: Record | None, kept: DeadLetter | None) -> JobHistory:
        now = self._clock()
        told = int(number_in(letter, "redrives") or 0)
        first = min(now, number_in(letter, "firstFailedAt") or now)
        return JobHistory(
            state=record.state if record else None,
            fault=record.error if record else None,
            tally=record.tally if record else Tally(),
            redrives=max(told, kept.redrives if kept else 0),
            returns=kept.returns if kept else 0,
            first_failed_at=kept.first_seen_at if kept else first,
            last_failed_at=min(now, letter.sent_at),
        )

    def _breaker(self, report_type: str) -> Breaker:
        """Resting for ever or not at all: for how long is told by its store's clock, which is not this node's."""
        found = (breaker for breaker in self._breakers.snapshot() if breaker.report_type == report_type)
        until = math.inf if report_type in self._breakers.resting() else 0.0
        return replace(next(found, Breaker(report_type)), until=until, lease_until=0.0)

    # --- acting -----------------------------------------------------------------------------------------------

    async def _act(self, verdict: TriageVerdict, copy: DeadLetter, reading: Reading, record: Record | None) -> bool:
        """Whether the letter is done with; if not, its job has moved in the meantime, and it is judged again."""
        match verdict.action:
            case Action.DROP:
                await self._record("dropped", copy, {"reason": verdict.reason})
                return True
            case Action.REQUEUE | Action.REPAIR if reading.job is not None:
                return await self._put_back(copy, reading, reading.job, record)
            case Action.QUARANTINE:
                await self._give_up(copy, reading, record)
                return await self._quarantine.take(copy)
            case _:
                return await self._letters.keep(copy)

    async def _put_back(self, copy: DeadLetter, reading: Reading, job: Job, record: Record | None) -> bool:
        """Row first, message next; cut off in between, the sweep of unconfirmed jobs sends it.

        If a message of it is still in the queue, a second one does no harm (I6).
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
        if reading.changes:
            changes = [asdict(change) for change in reading.changes]
            await self._record("repaired", copy, {"problem": reading.problem, "changes": changes})
        else:
            await self._record("requeued", copy, {"reason": copy.reason, "returns": copy.returns})
        return True

    async def _give_up(self, copy: DeadLetter, reading: Reading, record: Record | None) -> None:
        """A job that nobody has given up before is dead-lettered first."""
        if copy.task_id is None or (record is not None and record.state is JobState.DEAD_LETTERED):
            return
        if record is None and reading.job is not None:
            await self._jobs.add([reading.job])
        fault = Fault(FaultKind(copy.kind), copy.detail)
        await self._jobs.settle(Settlement(copy.task_id, JobEvent.DEAD_LETTERED, self._clock(), fault=fault))

    async def _record(self, what: str, copy: DeadLetter, detail: dict[str, object]) -> None:
        await self._audit.record([AuditEntry(self._clock(), self._node, f"dead_letter.{what}", copy.id, detail)])
