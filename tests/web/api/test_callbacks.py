"""Callbacks as a client sees them: their state, and what is sent."""

from typing import Any

import jsonschema_rs
import orjson
import pytest

from reportd.ports import Callback, DeliveryOutcome
from tests.web.running import Running

URL = "https://hooks.example.com/done?token=s3cret"


async def told(running: Running, task_id: str) -> Any:
    answer = await running.client.get(f"/reports/{task_id}")
    assert answer.status_code == 200
    assert "s3cret" not in answer.text
    return answer.json()["callback"]


async def claimed(running: Running) -> Callback:
    ((callback,), _) = await running.outbox.claim(1, 60.0)
    return callback


async def test_how_far_it_has_come(running: Running) -> None:
    task_id = await running.submit(callbackUrl=URL)
    assert await told(running, task_id) is None, "there is nothing to tell yet"
    await running.succeed(task_id)
    waiting = await told(running, task_id)
    assert waiting.pop("nextAt").endswith("Z")
    assert waiting == {"state": "pending", "attempts": 0, "error": None}
    callback = await claimed(running)
    assert await told(running, task_id) == {"state": "pending", "attempts": 1, "nextAt": None, "error": None}
    await running.outbox.settle(callback, None, "the receiver answers 503", 0.0)
    assert (await told(running, task_id))["error"] == "the receiver answers 503"
    await running.outbox.settle(await claimed(running), DeliveryOutcome.DELIVERED, "")
    assert await told(running, task_id) == {"state": "delivered", "attempts": 2, "nextAt": None, "error": None}


async def test_a_report_that_nobody_is_told_of(running: Running) -> None:
    task_id = await running.submit()
    await running.succeed(task_id)
    assert await told(running, task_id) is None


@pytest.mark.parametrize("state", ["succeeded", "quarantined", "cancelled"])
async def test_what_is_sent_is_the_report_at_its_end(running: Running, state: str) -> None:
    task_id = await running.submit(callbackUrl=URL)
    match state:
        case "succeeded":
            await running.succeed(task_id)
        case "quarantined":
            await running.quarantine(task_id)
        case _:
            await running.client.delete(f"/reports/{task_id}")
    report = (await running.client.get(f"/reports/{task_id}")).json()
    del report["callback"], report["options"]
    if state == "quarantined":
        await running.client.post(f"/reports/{task_id}/retry")
    sent = orjson.loads((await claimed(running)).body)
    assert sent == {"type": f"report.{state}", "timestamp": report["finishedAt"], "data": report}


async def test_the_document_describes_both(running: Running) -> None:
    task_id = await running.submit(callbackUrl=URL)
    await running.succeed(task_id)
    report = (await running.client.get(f"/reports/{task_id}")).json()
    components = (await running.client.get("/openapi.json")).json()["components"]
    schema = {**components["schemas"]["Report"], "components": components}
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    assert validator.is_valid(report)
    assert validator.is_valid(orjson.loads((await claimed(running)).body)["data"])
    assert not validator.is_valid(report | {"callback": {"state": "lost"}})
