"""Good and bad requests, made from the OpenAPI document: no answer is 5xx, and each is as documented."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, Config, GenerationMode
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from reportd_web.http import server
from tests.web.api.test_dead_letters import no_job, quarantined, waiting
from tests.web.running import Running, open_running

EXAMPLES = 85
"""The number of good requests, and of bad ones, for each call."""

CALLS = [
    *("submitReport", "listReports", "getReport", "cancelReport", "getReportPdf", "retryReport"),
    *("openBreaker", "closeBreaker", "probeBreaker"),
    *("listDeadLetters", "getDeadLetter", "requeueDeadLetters", "dropDeadLetters"),
]
"""The calls that take input. The answers of the others do not depend on the request."""


NO_JUDGEMENT: dict[int, list[CheckFunction]] = {
    410: [positive_data_acceptance],
    413: [positive_data_acceptance, negative_data_rejection],
    416: [positive_data_acceptance],
}
"""Does not say whether the request was valid."""


class Target:
    """A server in another thread, and its answers."""

    def __init__(self, url: str, task_ids: list[str], cursor: str, letters: list[str], letter_cursor: str) -> None:
        self.url = url
        self.task_ids = task_ids
        self.cursor = cursor
        self.letters = letters
        self.letter_cursor = letter_cursor
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.session = requests.Session()
        self.session.trust_env = False


async def reports_in_every_state(running: Running) -> list[str]:
    queued, succeeded, purged, quarantined, cancelled = [await running.submit() for _ in range(5)]
    await running.succeed(succeeded)
    await running.succeed(purged)
    await running.artifacts.remove(purged)
    await running.jobs.purge([purged])
    await running.quarantine(quarantined)
    await running.client.delete(f"/reports/{cancelled}")
    return [queued, succeeded, purged, quarantined, cancelled]


@pytest.fixture
def target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    # No report is finished while a client waits for it.
    monkeypatch.setattr("reportd.intake.service.MAX_WAIT_SECONDS", 0.001)
    ready: SimpleQueue[tuple[Target, trio.Event, trio.lowlevel.TrioToken]] = SimpleQueue()

    async def serve() -> None:
        stop = trio.Event()
        async with open_running(folder) as running, trio.open_nursery() as nursery:
            task_ids = await reports_in_every_state(running)
            cursor = (await running.client.get("/reports?limit=2")).json()["nextCursor"]
            letters = [await quarantined(running), await waiting(running), await no_job(running)]
            group = (await running.client.get("/dead-letters?limit=1")).json()
            letters.append(group["groups"][0]["id"])
            url = await nursery.start(server.serve, running.app, "127.0.0.1:0", stop, 100)
            target = Target(url, task_ids, cursor, letters, group["nextCursor"])
            ready.put((target, stop, trio.lowlevel.current_trio_token()))

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    target, stop, token = ready.get(timeout=30)
    with target.session:
        yield target
    trio.from_thread.run_sync(stop.set, trio_token=token)
    thread.join(30)
    assert not thread.is_alive()


def document(target: Target, mode: GenerationMode) -> OpenApiSchema:
    """Return the OpenAPI document, as the source of good or of bad requests."""
    schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json", config=Config())
    # NUL is refused everywhere, which a schema can't say.
    schema.config.generation.update(allow_x00=mode.is_negative)
    return schema


def ask(target: Target, schema: OpenApiSchema, name: str, mode: GenerationMode) -> None:
    """Send requests for one call, and check that each answer is as documented."""
    operation = schema.find_operation_by_id(name)

    @seed(20261124)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(
        case=operation.as_strategy(generation_mode=mode),
        task_id=st.none() | st.sampled_from(target.task_ids),
        letter=st.none() | st.sampled_from(target.letters),
    )
    def run(case: Case[Any], task_id: str | None, letter: str | None) -> None:
        made_good(case, mode, target)
        if task_id and "taskId" in case.path_parameters and not is_negative(case, ParameterLocation.PATH):
            case.path_parameters["taskId"] = task_id
        if letter and "id" in case.path_parameters and not is_negative(case, ParameterLocation.PATH):
            case.path_parameters["id"] = letter
        response = case.call(session=target.session)
        target.statuses[name, response.status_code] += 1
        assert response.status_code < 500
        case.validate_response(response, excluded_checks=NO_JUDGEMENT.get(response.status_code, []))

    run()


def is_negative(case: Case[Any], location: ParameterLocation) -> bool:
    component = case.meta.components.get(location) if case.meta else None
    return component is not None and component.mode.is_negative


def made_good(case: Case[Any], mode: GenerationMode, target: Target) -> None:
    """Rules that the document can't express: hosts of callbacks, known names, valid cursors, new keys."""
    if mode.is_negative:
        return
    if "cursor" in case.query:
        case.query["cursor"] = target.letter_cursor if "/dead-letters" in case.path else target.cursor
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{sum(target.statuses.values())}"
    if isinstance(case.body, dict) and case.body.get("callbackUrl"):
        case.body["callbackUrl"] = "https://hooks.example.com/done"
    if isinstance(case.body, dict):
        good: dict[str, Any] = {"locale": "de", "timezone": "UTC", "pdf": {}}
        case.body |= {name: value for name, value in good.items() if case.body.get(name)}


def test_no_request_is_answered_with_5xx_or_other_than_described(target: Target) -> None:
    for mode in GenerationMode:
        schema = document(target, mode)
        for name in CALLS:
            ask(target, schema, name, mode)
    assert sum(target.statuses.values()) >= 1000, target.statuses
