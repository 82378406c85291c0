"""Sends the messages of jobs: for the intake, a retry, a redrive and the maintenance."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import trio

from reportd.core.jobs.job import Job, to_message
from reportd.ports import (
    Outgoing,
    Queue,
    UnavailableError,
)

LARGE_BYTES = 65536
"""Others have their turn after a message of this size: it takes milliseconds, and there may be a hundred of them."""

LATE: Mapping[str, str] = MappingProxyType({"late": "yes"})
"""With an attribute, a FIFO queue does not take a message for the first one, which it may have had long ago."""

NOTHING: Mapping[str, str] = MappingProxyType({})


async def send_jobs(
    queue: Queue, jobs: Sequence[Job], attributes: Mapping[str, str] = NOTHING
) -> list[tuple[Job, Exception | None]]:
    """Send each job's message; a queue that is down is every job's error."""
    if not jobs:
        return []
    messages = []
    for job in jobs:
        body = to_message(job, queue.max_message_bytes)
        messages.append(Outgoing(body, job.task_id, job.report_type, job.user_id, attributes=attributes))
        if len(body) > LARGE_BYTES:
            await trio.lowlevel.checkpoint()
    try:
        outcomes = await queue.send(messages)
    except UnavailableError as error:
        outcomes = [error] * len(jobs)
    return list(zip(jobs, outcomes, strict=True))


async def resend_job(queue: Queue, job: Job) -> None:
    """Send one job's message anew, or raise why it could not be sent.

    The attribute tells a FIFO queue that it is not the first one once more, which it would swallow.
    """
    for _, error in await send_jobs(queue, [job], {"redrive": "1"}):
        if error is not None:
            raise error
