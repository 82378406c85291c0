"""Keeps the messages in flight on this node invisible to other nodes, and their jobs known to be alive (I8)."""

import structlog
import trio

from reportd.ports import Jobs, Queue, ReceiptLostError, UnavailableError
from reportd.work.in_flight import InFlightTask, InFlightTasks

log = structlog.get_logger()

RETRY_SECONDS = 1.0
"""The pause after a failure. It is short because the messages become visible to other nodes soon."""

RENEW_SECONDS = 5.0
"""How often jobs are renewed. It is short because a job from a long backlog is overdue when it is received."""


async def extend_visibility(queue: Queue, in_flight: InFlightTasks) -> None:
    """Extend the visibility timeout of every message in flight: three times per timeout, all in one call."""
    usual_pause = queue.visibility_seconds / 3
    pause = usual_pause
    while True:
        await trio.sleep(pause)
        renewals = [(task, receipt) for task in in_flight.all() for receipt in task.receipts]
        renewed = not renewals or await _renew(queue, renewals)
        pause = usual_pause if renewed else min(RETRY_SECONDS, usual_pause)


async def _renew(queue: Queue, renewals: list[tuple[InFlightTask, str]]) -> bool:
    """Return whether every message is known to be renewed or lost."""
    outcomes: list[Exception | None] = []
    # Limit a call that hangs, so that there is time for more calls before the visibility ends.
    with trio.move_on_after(queue.visibility_seconds / 3) as limit:
        try:
            outcomes = await queue.set_visibility([(receipt, queue.visibility_seconds) for _, receipt in renewals])
        except UnavailableError as error:
            log.warning("heartbeat.failed", error=str(error), held=len(renewals))
            return False
    if limit.cancelled_caught:
        log.warning("heartbeat.failed", error="no answer", held=len(renewals))
        return False
    for (task, receipt), outcome in zip(renewals, outcomes, strict=True):
        if isinstance(outcome, ReceiptLostError):
            log.warning("message.lost", taskId=task.task_id)
            task.receipt_lost(receipt)
    return all(outcome is None or isinstance(outcome, ReceiptLostError) for outcome in outcomes)


async def renew_jobs(jobs: Jobs, in_flight: InFlightTasks) -> None:
    """Tell the job store again and again that this node has the messages of its jobs, so that they are not resent."""
    while True:
        await trio.sleep(RENEW_SECONDS)
        try:
            await jobs.renew([task.task_id for task in in_flight.all()])
        except UnavailableError as error:
            log.warning("jobs.not_renewed", held=len(in_flight), error=str(error))
