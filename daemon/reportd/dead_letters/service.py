"""The operator's calls on dead letters: list them, put them back or drop them, one or a whole group."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from reportd.core.dead_letters.signature import SIGNATURE
from reportd.core.faults import stored_fault
from reportd.core.jobs.transitions import IllegalTransitionError, JobEvent
from reportd.intake.errors import NotFoundError, StillQueuedError
from reportd.intake.service import Service
from reportd.ports import (
    Audit,
    AuditEntry,
    DeadLetter,
    DeadLetters,
    Group,
    Jobs,
    LetterStatus,
    Outgoing,
    Queue,
    Redrive,
    Settlement,
    UnavailableError,
)
from reportd.work.messages import resend_job

MAX_AT_ONCE = 500
"""The most letters of a group in one call. The answer says how many remain; repeat the call for them."""

log = structlog.get_logger()


class NoSuchLetterError(NotFoundError):
    """There is no such letter or group."""

    def __init__(self) -> None:
        Exception.__init__(self, "there is no such dead letter or group of them")


@dataclass(frozen=True, slots=True)
class Done:
    """How many letters a call has changed, and how many of the group remain."""

    count: int
    remaining: int


class DeadLetterService:
    """Lists, requeues and drops dead letters. The methods' ``target`` is a letter's id, or a group's signature."""

    def __init__(
        self,
        *,
        service: Service,
        jobs: Jobs,
        queue: Queue,
        letters: DeadLetters,
        audit: Audit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._jobs = jobs
        self._queue = queue
        self._letters = letters
        self._audit = audit
        self._clock = clock

    async def groups(self, limit: int, before: tuple[float, str] | None = None) -> list[Group]:
        return await self._letters.groups(limit, before)

    async def group(self, signature: str) -> Group:
        """Raises NoSuchLetterError."""
        group = await self._letters.group(signature)
        if group is None:
            raise NoSuchLetterError
        return group

    async def members(self, signature: str, limit: int, before: tuple[float, str] | None = None) -> list[DeadLetter]:
        return await self._letters.members(signature, limit, before)

    async def letter(self, letter_id: str) -> DeadLetter:
        """Raises NoSuchLetterError, also for a letter whose job is in the queue again."""
        letter = await self._letters.get(letter_id)
        if letter is None or letter.standing is LetterStatus.UNDERWAY:
            raise NoSuchLetterError
        return letter

    async def requeue(self, target: str, actor: str) -> Done:
        """Put jobs back into the queue, with a fresh set of attempts; a letter without a job goes back unchanged.

        Raises NoSuchLetterError.
        """
        return await self._apply(target, actor, "requeued", self._requeue)

    async def drop(self, target: str, actor: str) -> Done:
        """Delete the copies. A job that still waits for triage is quarantined; the records of the jobs stay.

        Raises NoSuchLetterError.
        """
        return await self._apply(target, actor, "dropped", self._drop)

    async def _apply(self, target: str, actor: str, verb: str, change: Callable[[DeadLetter], Awaitable[None]]) -> Done:
        is_group = SIGNATURE.fullmatch(target) is not None
        members = await self._letters.members(target, MAX_AT_ONCE) if is_group else [await self.letter(target)]
        if not members:
            raise NoSuchLetterError
        for letter in members:
            await change(letter)
        remaining = await self._letters.group(target) if is_group else None
        done = Done(len(members), remaining.waiting + remaining.quarantined if remaining else 0)
        log.info("dead_letters.settled", done=verb, target=target, actor=actor, count=done.count)
        entry = AuditEntry(self._clock(), actor, f"dead_letter.{verb}", target, {"count": done.count})
        await self._audit.record([entry])
        return done

    async def _requeue(self, letter: DeadLetter) -> None:
        if letter.task_id is None:
            await self._send_unchanged(letter)
        elif letter.standing is LetterStatus.WAITING:
            for record in await self._letters.release([Redrive(letter.id, own=False)], self._clock()) or ():
                await resend_job(self._queue, record.job)
                await self._jobs.confirm([letter.id])
            return
        else:
            try:
                await self._service.retry(letter.task_id)
            except (IllegalTransitionError, NotFoundError, StillQueuedError):
                log.info("dead_letter.moved_already", letter=letter.id)
        await self._letters.remove([letter.id])

    async def _send_unchanged(self, letter: DeadLetter) -> None:
        (error,) = await self._queue.send([Outgoing(letter.body, "", "", "")])
        if error is not None:
            raise UnavailableError("queue", str(error))

    async def _drop(self, letter: DeadLetter) -> None:
        if letter.task_id is not None and letter.standing is LetterStatus.WAITING:
            fault = stored_fault(letter.kind, letter.detail)
            await self._jobs.settle(Settlement(letter.task_id, JobEvent.QUARANTINED, self._clock(), fault=fault))
        await self._letters.remove([letter.id])
