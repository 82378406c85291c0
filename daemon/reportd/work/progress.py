"""Tells the job store how far the pages of this node's jobs say that they are. No render waits for that."""

import structlog
import trio

from reportd.ports import Jobs, UnavailableError
from reportd.work.in_flight import InFlightTask, InFlightTasks

log = structlog.get_logger()

REPORT_SECONDS = 1.0
"""All jobs of a node are written at once, so this bounds the writes of the node, however often its pages speak."""


async def report_progress(jobs: Jobs, in_flight: InFlightTasks) -> None:
    """Write what has changed, every second."""
    written: dict[InFlightTask, float] = {}
    while True:
        await trio.sleep(REPORT_SECONDS)
        present = {task: task.progress for task in in_flight.all() if task.progress is not None}
        changed = {task.task_id: progress for task, progress in present.items() if written.get(task) != progress}
        if not changed:
            continue
        try:
            await jobs.report_progress(changed)
            written = present
        except UnavailableError as error:
            log.debug("progress.not_written", jobs=len(changed), error=str(error))
