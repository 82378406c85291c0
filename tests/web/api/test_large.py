"""Large bodies: another process parses them, and may refuse one as too costly, or be full."""

from typing import Any

import orjson
import pytest

from reportd.ports import INLINE_BYTES, TooCostlyError, UnavailableError
from tests.fakes.checking import InlineProcesses
from tests.web.running import PARAMETERS, Running, submission

URL = "/reports/generate-async"
ROWS = {**PARAMETERS, "rows": [{"product": f"Lamp {n}", "quantity": n, "revenue": n / 2} for n in range(1000)]}


def asked(running: Running) -> InlineProcesses:
    """The parser of submissions."""
    types: Any = running.service._validator
    found: InlineProcesses = types._checker._at_the_door
    return found


async def test_a_large_one_is_the_same_as_a_small_one(running: Running) -> None:
    task_id = await running.submit({"Idempotency-Key": "k"}, parameters=ROWS)
    assert asked(running).asked == 2
    assert (await running.record(task_id)).job.parameters == ROWS
    (message,) = await running.queue.receive(10, 0)
    assert orjson.loads(message.body)["parameters"] == ROWS
    assert await running.submit({"Idempotency-Key": "k"}, parameters=ROWS) == task_id
    other_order = dict(reversed(ROWS.items()))
    assert await running.submit({"Idempotency-Key": "k"}, parameters=other_order) == task_id
    changed = {**ROWS, "rows": ROWS["rows"][1:]}
    answer = await running.client.post(URL, json=submission(parameters=changed), headers={"Idempotency-Key": "k"})
    assert (answer.status_code, "Idempotency-Key" in answer.text) == (422, True)


async def test_what_is_wrong_with_it_is_told_as_of_a_small_one(running: Running) -> None:
    room = "x" * INLINE_BYTES
    for body, status, pointer in (
        (b'{"a": ' + room.encode(), 400, ""),
        (orjson.dumps([room]), 422, ""),
        (orjson.dumps(submission(other=room)), 422, "/other"),
        (orjson.dumps(submission(parameters={"title": room + "\0"})), 422, "/parameters"),
        (orjson.dumps(submission(parameters={**PARAMETERS, "title": room})), 422, "/parameters/title"),
    ):
        answer = await running.client.post(URL, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_many_unknown_names_are_not_all_told(running: Running) -> None:
    answer = await running.client.post(URL, json=submission(**{f"name{n}": n for n in range(3000)}))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20


@pytest.mark.parametrize(
    ("fault", "status", "detail"),
    [
        (TooCostlyError("takes longer than 20 s"), 422, "can't be read: that takes longer than 20 s"),
        (UnavailableError("checks of requests", "too many tasks wait"), 503, "too many tasks wait"),
    ],
)
async def test_what_can_not_be_read_is_refused(running: Running, fault: Exception, status: int, detail: str) -> None:
    asked(running).fault = fault
    answer = await running.client.post(URL, json=submission(parameters=ROWS))
    assert answer.status_code == status
    assert detail in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    assert await running.rows() == 0
    await running.submit()  # a small one is parsed in this process
