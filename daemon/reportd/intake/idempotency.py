"""Gives a repeated submission the task id of the first one, and tells a repetition from a different request."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import trio

from reportd.core.jobs.job import Job
from reportd.core.jobs.parameters import text_of, value_of
from reportd.core.jobs.submission import Submission

IDEMPOTENCY_NAMESPACE = uuid.UUID("6d0c3f4e-4f0e-5c5b-9a44-1f6f5c0d2b7a")


def task_id_of(submission: Submission) -> str:
    """Return a random id, or one derived from user and key. Then the primary key makes a repetition harmless."""
    if submission.idempotency_key is None:
        return str(uuid.uuid4())
    return str(uuid.uuid5(IDEMPOTENCY_NAMESPACE, f"{submission.user_id}\n{submission.idempotency_key}"))


async def is_same_request(stored: Job, submitted: Job) -> bool:
    """Return whether two jobs of the same task id ask for the same report."""
    if replace(stored, parameters={}, submitted_at=submitted.submitted_at) != replace(submitted, parameters={}):
        return False
    if stored.parameters is submitted.parameters or text_of(stored.parameters) == text_of(submitted.parameters):
        return True
    return await trio.to_thread.run_sync(_is_same_json, stored.parameters, submitted.parameters)


def _is_same_json(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Compare as JSON: Python takes 1 and true for equal."""
    first_text, second_text = (orjson.dumps(value_of(p), option=orjson.OPT_SORT_KEYS) for p in (first, second))
    return first_text == second_text
