"""Renders an attempt in its slot: with its render token, and with each fault as whose it is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from reportd.concurrency.retrying import retry_while_unavailable
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job
from reportd.ports import NoKeyError, Pdf, RenderRequest, Slot
from reportd.system.file_descriptors import none_left
from reportd.work.attempt_tokens import AttemptTokens
from reportd.work.in_flight import InFlightTask

log = structlog.get_logger()

_NONE_LEFT = "the node had no file descriptor left"


class Pages(Protocol):
    """The part of the catalogue that makes the page of a job."""

    async def request(self, job: Job) -> RenderRequest: ...


class Attempts:
    """``shortage_since``: whether the node has run out of file descriptors since that time, or just before it."""

    def __init__(self, pages: Pages, tokens: AttemptTokens, shortage_since: Callable[[float], bool]) -> None:
        self._pages = pages
        self._tokens = tokens
        self._shortage_since = shortage_since

    async def render(
        self, slot: Slot, prepared: RenderRequest | FaultError, job: Job, task: InFlightTask, *, dedicated_browser: bool
    ) -> Pdf:
        """Return the PDF of the attempt that ``task`` has recorded. Raises FaultError."""
        if isinstance(prepared, FaultError):
            raise prepared
        assert task.started is not None  # noqa: S101 - an attempt is under way
        started_at = trio.current_time()
        try:
            request = await self._with_token(prepared, job, task.started.number)
            return await slot.render(request, dedicated_browser=dedicated_browser, on_progress=task.progressed)
        except FaultError as error:
            nature = error.fault.nature
            if nature.counts and not nature.kills_browser and self._shortage_since(started_at):
                detail = f"{_NONE_LEFT}; {error.fault.detail}"
                raise FaultError(FaultKind.OUT_OF_FILES, detail, error.evidence) from error
            raise
        except Exception as error:
            raise internal_fault(error) from error
        finally:
            task.progress = None

    async def _with_token(self, prepared: RenderRequest, job: Job, attempt: int) -> RenderRequest:
        try:
            return await self._tokens.add(prepared, job, attempt)
        except NoKeyError:  # a reload has removed all keys since the page was made, and with them the token of its type
            again = await retry_while_unavailable(lambda: self._pages.request(job))
            again = replace(again, timeout_seconds=prepared.timeout_seconds)
            return await self._tokens.add(again, job, attempt)


def internal_fault(error: Exception) -> FaultError:
    """Return the fault of a job at which the daemon itself has failed, and log it."""
    if none_left(error):
        return FaultError(FaultKind.OUT_OF_FILES, _NONE_LEFT)
    log.error("job.internal_error", exc_info=error)
    return FaultError(FaultKind.INTERNAL, f"{type(error).__name__} in the daemon; see its log")
