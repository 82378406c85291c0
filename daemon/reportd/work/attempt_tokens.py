"""Gives an attempt its render token when it begins: a job may wait long for its slot, and a token lives shortly."""

import time
from collections.abc import Callable
from dataclasses import replace

import trio

from reportd.core.jobs.job import Job
from reportd.core.jobs.parameters import text_of
from reportd.core.jobs.render_claims import RenderClaims, hash_of
from reportd.ports import INLINE_BYTES, RenderRequest, TokenSigner


class AttemptTokens:
    """``signer``: None signs nothing, for report types without a token."""

    def __init__(self, signer: TokenSigner | None = None, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._clock = clock

    async def add(self, request: RenderRequest, job: Job, attempt: int) -> RenderRequest:
        """Return the request of an attempt that begins now, with its token if its report type has one.

        ``attempt``: its number among all attempts of the job. Raises NoKeyError when a reload has removed all keys.
        """
        if request.options.token is None or request.url is None or self._signer is None:
            return request
        text = text_of(job.parameters)
        # A thread for a large text: a hundred megabytes would hold the event loop for a tenth of a second.
        large = len(text) > INLINE_BYTES
        digest = await trio.to_thread.run_sync(hash_of, text) if large else hash_of(text)
        claims = RenderClaims.of(
            job,
            request.url,
            attempt=attempt,
            parameters_sha256=digest,
            now=self._clock(),
            lifetime_seconds=request.timeout_seconds,
            margin_seconds=request.options.token_margin_seconds,
        )
        return replace(request, token=self._signer.sign(claims))
