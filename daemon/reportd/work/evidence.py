"""Keeps the evidence of a failed attempt. Best effort: a job is settled with it or without it."""

import structlog
import trio

from reportd.core.jobs.evidence import Evidence
from reportd.ports import EvidenceStore
from reportd.work.in_flight import InFlightTask

log = structlog.get_logger()

KEEP_SECONDS = 2.0
"""How long the settlement of a job waits for the store at most."""


async def keep_evidence(store: EvidenceStore, task: InFlightTask, evidence: Evidence | None, at: float) -> None:
    """Keep the evidence of the attempt under way, if there is any. Raises nothing: a failure is logged.

    ``at``: seconds since the epoch.
    """
    if evidence is None or task.started is None:
        return
    reason = f"no answer within {KEEP_SECONDS:g} s"
    with trio.move_on_after(KEEP_SECONDS):
        try:
            await store.put(task.task_id, task.started.number, at, evidence)
        except Exception as error:  # noqa: BLE001 - logged, and the job is settled
            reason = f"{type(error).__name__}: {error}"
        else:
            return
    log.warning("job.evidence_not_kept", attempt=task.started.number, error=reason)
