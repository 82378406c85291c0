"""Makes and sends the messages of jobs, for the intake, the worker, redrives and the maintenance."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import trio

from reportd.core.jobs.job import Job, to_message
from reportd.ports import Outgoing, Queue, UnavailableError

LARGE_BYTES = 65536
"""Yield to other tasks after a message above this size: each takes milliseconds, and a batch may hold a hundred."""

LATE_ATTRIBUTES: Mapping[str, str] = MappingProxyType({"late": "yes"})
"""Attributes of a message that is sent late. Without them, a FIFO queue may drop it as a duplicate of the first one."""

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


def message_of(
    job: Job, max_bytes: int, *, delay_seconds: float = 0.0, attributes: Mapping[str, str] = NO_ATTRIBUTES
) -> Outgoing:
    """Make the message of a job for a queue that accepts bodies of at most ``max_bytes``."""
    body = to_message(job, max_bytes)
    return Outgoing(body, job.task_id, job.report_type, job.user_id, delay_seconds, attributes)


async def send_messages(queue: Queue, messages: Sequence[Outgoing]) -> list[Exception | None]:
    """Send the messages. Return, per message, its error or None; if the queue is down, all have that error."""
    if not messages:
        return []
    try:
        return await queue.send(messages)
    except UnavailableError as error:
        return [error] * len(messages)


async def send_jobs(
    queue: Queue, jobs: Sequence[Job], attributes: Mapping[str, str] = NO_ATTRIBUTES
) -> list[tuple[Job, Exception | None]]:
    """Send each job's message. Return each job with its error, or None; see ``send_messages``."""
    messages = []
    for job in jobs:
        message = message_of(job, queue.max_message_bytes, attributes=attributes)
        messages.append(message)
        if len(message.body) > LARGE_BYTES:
            await trio.lowlevel.checkpoint()
    return list(zip(jobs, await send_messages(queue, messages), strict=True))


async def resend_job(queue: Queue, job: Job) -> None:
    """Send one job's message again, or raise the error of the queue.

    Without the attribute, a FIFO queue would drop the message as a duplicate.
    """
    for _, error in await send_jobs(queue, [job], {"redrive": "1"}):
        if error is not None:
            raise error
