"""Submissions: the answer, idempotency, a full backlog, and an unavailable part (I2)."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from reportd.adapters.sql import engines
from reportd.core.capacity.backlog import BacklogPolicy
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.submission import FieldProblem, Submission
from reportd.intake.service import ACCEPT_SECONDS
from reportd.ports import Outgoing, UnavailableError
from tests.web.running import USER, Running, open_running, submission
from tests.wording import mentions

OTHER_USER = "11111111-2222-4333-8444-555555555555"
URL = "/reports/generate-async"


async def test_accepted_job_is_durable_queued_and_found_at_its_location(running: Running) -> None:
    answer = await running.client.post(URL, json=submission())
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"message", "taskId"}
    task_id = answer.json()["taskId"]
    assert str(UUID(task_id)) == task_id
    assert answer.headers["location"] == f"/reports/{task_id}"
    assert (await running.client.get(answer.headers["location"])).json()["state"] == "queued"
    with trio.fail_after(5):  # no test waits for this
        while not (await running.record(task_id)).confirmed:
            await trio.sleep(0.01)
    (message,) = await running.queue.receive(10, 0)
    assert json.loads(message.body)["taskId"] == task_id


async def test_row_and_message_hold_what_was_asked_for(running: Running) -> None:
    url = "https://hooks.example.com/done?a=b"
    task_id = await running.submit(userId=USER.upper(), callbackUrl=url)
    (message,) = await running.queue.receive(10, 0)
    job = (await running.record(task_id)).job
    assert job.parameters == submission()["parameters"]
    assert (job.report_type, job.user_id, job.callback_url) == ("sales_summary", USER, url)
    expected = {"taskId": task_id, **submission(callbackUrl=url)}
    assert expected.items() <= json.loads(message.body).items()


async def test_each_submission_without_a_key_is_another_job(running: Running) -> None:
    assert await running.submit() != await running.submit()


@pytest.mark.parametrize("slow", ["parsed", "checked", "each"])
async def test_an_answer_comes_in_time_whatever_takes_long(
    running: Running, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """Parsing, checking and recording a body share one timeout."""
    service, each_seconds = running.service, 0.7 * ACCEPT_SECONDS if slow == "each" else 3 * ACCEPT_SECONDS
    parsed, check = service.parse, service._validator.check_submission

    async def slowly_parsed(body: bytes) -> Submission:
        await trio.sleep(each_seconds)
        return await parsed(body)

    async def slowly_checked(
        report_type: str, parameters: Mapping[str, Any], options: JobOptions
    ) -> list[FieldProblem]:
        await trio.sleep(each_seconds)
        return await check(report_type, parameters, options)

    if slow in ("parsed", "each"):
        monkeypatch.setattr(service, "parse", slowly_parsed)
    if slow in ("checked", "each"):
        monkeypatch.setattr(service._validator, "check_submission", slowly_checked)
    begun = autojump_clock.current_time()
    answer = await running.client.post(URL, json=submission())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert autojump_clock.current_time() - begun == pytest.approx(ACCEPT_SECONDS)


# Idempotency-Key


async def test_same_key_and_user_give_the_same_task_and_one_message(running: Running) -> None:
    key = {"Idempotency-Key": "order-17"}
    first = await running.submit(key)
    assert await running.submit(key) == first
    assert (await running.rows(), await running.messages()) == (1, 1)


async def test_same_key_sent_by_many_at_once_gives_one_task(running: Running) -> None:
    given: list[str] = []

    async def send() -> None:
        given.append(await running.submit({"Idempotency-Key": "once"}))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(send)
    assert len(set(given)) == 1
    assert len(given) == 20
    assert (await running.rows(), await running.messages()) == (1, 1)


async def test_same_key_of_what_has_ended_says_how(running: Running) -> None:
    key = {"Idempotency-Key": "order-17"}
    task_id = await running.submit(key)
    await running.quarantine(task_id, "the page has no chart")
    answer = await running.client.post(URL, json=submission(), headers=key)
    assert answer.status_code == 200
    assert answer.headers["location"] == f"/reports/{task_id}"
    told = answer.json()
    assert (told["taskId"], told["state"], told["message"]) == (task_id, "quarantined", "report quarantined")
    assert told["error"]["detail"] == "the page has no chart"
    again = await running.client.post(URL, json=submission(), headers={"Idempotency-Key": "order-18"})
    assert again.status_code == 202


async def test_key_of_another_user_is_another_task(running: Running) -> None:
    key = {"Idempotency-Key": "order-17"}
    assert await running.submit(key) != await running.submit(key, userId=OTHER_USER)


@pytest.mark.parametrize("together", [False, True], ids=["later", "at once"])
async def test_key_with_another_body_is_refused(running: Running, *, together: bool) -> None:
    changed = submission(parameters={**submission()["parameters"], "title": "Another"})
    key = {"Idempotency-Key": "order-17"}
    answers: list[httpx.Response] = []

    async def send(body: dict[str, Any]) -> None:
        answers.append(await running.client.post(URL, json=body, headers=key))

    if together:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, submission())
            nursery.start_soon(send, changed)
    else:
        await send(submission())
        await send(changed)
    accepted, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (accepted.status_code, refused.status_code) == (202, 422)
    assert refused.json()["errors"][0]["in"] == "header"
    assert refused.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    assert (await running.rows(), await running.messages()) == (1, 1)


@pytest.mark.parametrize("key", ["", " ", "two words", "ü", "x" * 256, "\x7f"])
async def test_key_that_is_not_visible_ascii_is_refused(running: Running, key: str) -> None:
    headers = {"Idempotency-Key": key.encode()}
    answer = await running.client.post(URL, json=submission(), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/Idempotency-Key"
    assert "1 to 255 visible ASCII" in answer.json()["detail"]
    assert await running.rows() == 0


async def test_longest_key_is_accepted(running: Running) -> None:
    await running.submit({"Idempotency-Key": "~" * 255})


# Full, or unavailable


async def test_full_backlog_is_429_and_leaves_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr(running.backlog, "_policy", BacklogPolicy(2))
    await running.queue.send([Outgoing("{}", str(n), "sales_summary", USER) for n in range(2)])
    nursery.start_soon(running.backlog.watch, 0.01)
    with trio.fail_after(5):
        while (answer := await running.client.post(URL, json=submission())).status_code == 202:
            await trio.sleep(0.01)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert mentions(answer.json()["detail"], " 2 ", "queue.max_backlog")
    assert (answer.json()["limit"], answer.json()["accepted"]) == ("backlog", 2)
    assert answer.json()["waiting"] >= 2
    before = await running.rows()
    assert (await running.client.post(URL, json=submission())).status_code == 429
    assert await running.rows() == before


async def test_every_acceptance_counts_until_the_next_look(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.backlog, "_policy", BacklogPolicy(2))
    statuses = [(await running.client.post(URL, json=submission())).status_code for _ in range(4)]
    assert statuses == [202, 202, 429, 429]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_queue_that_fails_is_503_and_leaves_no_job(
    running: Running, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """``after``: the message is sent, but its confirmation is lost. It may be rendered, but was not accepted."""
    send = running.queue.send

    async def failing(new: Sequence[Outgoing]) -> list[Exception | None]:
        if when == "after":
            await send(new)
        raise UnavailableError("queue", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(running.queue, "send", failing)
        answer = await running.client.post(URL, json=submission(), headers={"Idempotency-Key": "k"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["detail"] == "queue: no answer"
    assert "taskId" not in answer.text
    assert await running.rows() == 0
    assert await running.submit({"Idempotency-Key": "k"})
    assert await running.rows() == 1


async def test_one_message_of_a_batch_that_fails_is_503_for_its_job_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = running.queue.send

    async def failing(new: Sequence[Outgoing]) -> list[Exception | None]:
        bad = [message for message in new if message.group == OTHER_USER]
        await send([message for message in new if message not in bad])
        return [UnavailableError("queue", "refused") if message in bad else None for message in new]

    monkeypatch.setattr(running.queue, "send", failing)
    statuses: dict[str, int] = {}

    async def submit(user: str) -> None:
        statuses[user] = (await running.client.post(URL, json=submission(userId=user))).status_code

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, USER)
        nursery.start_soon(submit, OTHER_USER)
    assert statuses == {USER: 202, OTHER_USER: 503}
    assert await running.rows() == 1


async def test_answer_waits_for_the_queue(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    send, asked, confirm = running.queue.send, trio.Event(), trio.Event()
    answers: list[httpx.Response] = []

    async def slow(new: Sequence[Outgoing]) -> list[Exception | None]:
        asked.set()
        await confirm.wait()
        return await send(new)

    async def submit() -> None:
        answers.append(await running.client.post(URL, json=submission()))

    monkeypatch.setattr(running.queue, "send", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert await running.rows() == 1
        assert not answers
        confirm.set()
    assert answers[0].status_code == 202


async def test_database_that_fails_after_the_queue_has_the_message_takes_nothing_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row and message exist, but the row does not say so: a second message is sent, which is harmless (I6)."""

    async def failing(_: Sequence[str]) -> None:
        raise UnavailableError("database", "no answer")

    monkeypatch.setattr(running.jobs, "confirm", failing)
    task_id = await running.submit()
    (record,) = await running.jobs.overdue(10, confirmed=False, overdue_seconds=-60)
    assert record.job.task_id == task_id
    (message,) = await running.queue.receive(10, 0)
    assert json.loads(message.body)["taskId"] == task_id


async def test_locked_database_is_503_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_WAIT_SECONDS", 0.05)
    async with open_running(folder) as running:
        with closing(sqlite3.connect(folder / "reportd.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = await running.client.post(URL, json=submission())
            other.execute("ROLLBACK")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["detail"].startswith("database: ")
        assert (await running.rows(), await running.messages()) == (0, 0)
        await running.submit()
