"""Whether a render token opens the parameters of a task: only that of an attempt which is running now."""

import time
from collections.abc import Callable

from reportd.core.jobs.transitions import JobState
from reportd.ports import Jobs, TokenSigner


class RunningAttempts:
    """Judges render tokens by the job store, so that a token ends with its attempt and not only with its time."""

    def __init__(self, signer: TokenSigner, jobs: Jobs, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._jobs = jobs
        self._clock = clock

    async def opens(self, token: str, task_id: str) -> bool:
        """Return whether this is the token of the running attempt of that task. May raise UnavailableError."""
        claims = self._signer.verify(token)
        if claims is None or claims.task_id != task_id or claims.expires_at <= self._clock():
            return False
        record = await self._jobs.get(task_id)
        if record is None or record.state is not JobState.RUNNING:
            return False
        # The last one is running: the change that ends it also ends the job's state.
        return any(last.number == claims.attempt for last in (await self._jobs.attempts(task_id))[-1:])
