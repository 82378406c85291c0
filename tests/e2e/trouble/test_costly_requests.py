"""The costliest requests at the default limits are answered, while the daemon answers others at once (I12)."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.ports import Outgoing
from tests.e2e.process import USER, Daemon, finished, open_daemon

pytestmark = [pytest.mark.browser, pytest.mark.timed]

MAX_BYTES = 1_048_576
HEALTH_SECONDS = 0.25
GROWTH_MIB = 100.0
PERIOD = '"period": {"from": "2025-01-01", "to": "2025-03-31"}'

# Both branches are the same and refuse the value, so it is checked 2 ** depth times.
RECURSIVE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node"}]}},
            "additionalProperties": False,
        }
    },
    "properties": {"root": {"$ref": "#/$defs/node"}, "rows": {"items": {"$ref": "#/$defs/node"}}},
}
CONFIG = """
[reports.recursive]
template = "endless.html"
parameters_schema = "recursive.schema.json"
[reports.bare]
template = "endless.html"
timeout_seconds = 3
"""
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def full_of(piece: str, head: str, tail: str) -> str:
    """Return as many pieces, separated by commas, as a body may hold."""
    room = MAX_BYTES - len(head) - len(tail) - 400
    return head + ",".join([piece] * (room // (len(piece) + 1))) + tail


def chain(depth: int) -> str:
    return '{"root": ' + '{"next": ' * depth + '{"wrong": 1}' + "}" * depth + "}"


WORST: dict[str, tuple[str, str]] = {
    "empty rows": ("sales_summary", full_of("{}", f'{{{PERIOD}, "rows": [', "]}")),
    "numbers": ("sales_summary", full_of("1", f'{{{PERIOD}, "rows": [', "]}")),
    "lists": ("sales_summary", full_of("[[[]]]", f'{{{PERIOD}, "rows": [', "]}")),
    "names": ("sales_summary", "{" + ",".join(f'"{n:x}":0' for n in range(100_000)) + "}"),
    "as many rows as there may be": (
        "sales_summary",
        f'{{{PERIOD}, "rows": [' + ",".join(['{"a":1,"b":[],"quantity":"","revenue":""}'] * 10_000) + "]}",
    ),
    "empty days": ("user_activity", full_of("{}", f'{{{PERIOD}, "days": [', "]}")),
    "users": ("user_activity", full_of("{}", f'{{{PERIOD}, "days": [], "topUsers": [', "]}")),
    "a deep one": ("user_activity", '{"days": ' + "[" * 1000 + "]" * 1000 + "}"),
    "a long text": ("user_activity", f'{{"title": "{"x" * 1_000_000}"}}'),
    "a schema that holds itself": ("recursive", chain(28)),
    "the same in many rows": ("recursive", full_of(chain(10)[9:-1], '{"rows": [', "]}")),
}


def body_of(report_type: str, parameters: str) -> bytes:
    return f'{{"reportType": "{report_type}", "userId": "{USER}", "parameters": {parameters}}}'.encode()


@dataclass
class Watched:
    """The daemon's slowest health check, and its memory over time."""

    slowest_seconds: float = 0.0
    mib: list[float] = field(default_factory=list)


@asynccontextmanager
async def watching(daemon: Daemon) -> AsyncIterator[Watched]:
    """Ask for its health all the time, and look at its memory, first before the block."""
    watched = Watched()
    looked = trio.Event()

    async def ask() -> None:
        async with daemon.client() as client:
            while True:
                begun = time.monotonic()
                answer = await client.get("/healthz")
                assert answer.status_code == httpx.codes.OK
                watched.slowest_seconds = max(watched.slowest_seconds, time.monotonic() - begun)
                watched.mib.append(daemon.rss_mib())
                looked.set()
                await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await looked.wait()
        yield watched
        await trio.sleep(0.3)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_one(folder: Path) -> AsyncIterator[Daemon]:
    (folder / "recursive.schema.json").write_text(json.dumps(RECURSIVE))
    (folder / "endless.html").write_text(ENDLESS)
    async with open_daemon(folder, CONFIG) as daemon:
        yield daemon


def judge(watched: Watched, what: str) -> None:
    growth = max(watched.mib) - watched.mib[0]
    print(f"{what}: health within {watched.slowest_seconds * 1000:.0f} ms, memory + {growth:.0f} MiB")
    assert watched.slowest_seconds <= HEALTH_SECONDS, what
    assert growth <= GROWTH_MIB, what


async def test_the_worst_requests_are_refused_while_others_are_answered(tmp_path: Path) -> None:
    async with open_one(tmp_path) as daemon, daemon.client() as client:
        for what, (report_type, parameters) in WORST.items():
            body = body_of(report_type, parameters)
            assert len(body) <= MAX_BYTES
            async with watching(daemon) as watched:
                with trio.fail_after(10.0):
                    headers = {"Content-Type": "application/json"}
                    answer = await client.post("/reports/generate-async", content=body, headers=headers)
            assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, what
            problems = answer.json()["errors"]
            assert 1 <= len(problems) <= 20
            assert all(problem["pointer"].startswith("/parameters") for problem in problems), problems[0]
            assert len(answer.content) < 20_000
            judge(watched, what)


async def test_the_worst_messages_are_judged_while_others_are_answered(tmp_path: Path) -> None:
    """The worker judges them, and then triage, which tries to repair them."""
    async with open_one(tmp_path) as daemon:
        worst = {str(uuid.uuid4()): each for each in WORST.values()}
        async with watching(daemon) as watched:
            await put(daemon, worst)
            with trio.fail_after(120.0):
                while len(judged := daemon.events("dead_letter.judged")) < len(worst):
                    await trio.sleep(0.5)
        assert {event["verdict"] for event in judged} == {"quarantine"}
        judge(watched, "messages")


async def test_a_template_without_end_fails_its_job_alone(tmp_path: Path) -> None:
    async with open_one(tmp_path) as daemon, daemon.client() as client:
        async with watching(daemon) as watched:
            headers = {"Content-Type": "application/json"}
            answer = await client.post("/reports/generate-async", content=body_of("bare", "{}"), headers=headers)
            report = await finished(client, answer.json()["taskId"])
        assert report["error"] == {"kind": "template_error", "detail": "endless.html: takes longer than 3 s"}
        judge(watched, "a template")


async def test_a_list_of_large_jobs_takes_no_memory(tmp_path: Path) -> None:
    async with open_one(tmp_path) as daemon, daemon.client() as client:
        body = body_of("bare", full_of("{}", '{"rows": [', "]}"))
        async with watching(daemon) as watched:
            for _ in range(10):
                headers = {"Content-Type": "application/json"}
                answer = await client.post("/reports/generate-async", content=body, headers=headers)
                assert answer.status_code == httpx.codes.ACCEPTED
            task_id = answer.json()["taskId"]
            assert len((await client.get("/reports", params={"limit": 100})).json()["reports"]) == 10
            assert (await client.get(f"/jobs/{task_id}")).status_code == httpx.codes.OK
            assert (await client.get("/")).status_code == httpx.codes.OK
        judge(watched, "large jobs")


async def put(daemon: Daemon, messages: dict[str, tuple[str, str]]) -> None:
    """Send to the embedded queue, as an outside producer does."""
    async with open_database(f"sqlite:///{daemon.data_dir / 'reportd.db'}") as database:
        queue = EmbeddedQueue(database, "main", visibility_seconds=60)
        for task_id, (report_type, parameters) in messages.items():
            body = (
                f'{{"taskId": "{task_id}", "reportType": "{report_type}", "userId": "{USER}", '
                f'"submittedAt": {int(time.time() * 1000)}, "parameters": {parameters}}}'
            )
            assert await queue.send([Outgoing(body, task_id, report_type, USER)]) == [None]
