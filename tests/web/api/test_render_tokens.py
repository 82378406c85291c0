"""The keys of render tokens, and the parameters that a token of a running attempt opens."""

import time
from dataclasses import replace
from hashlib import sha256
from typing import Any

import jwt
import orjson

from reportd.core.jobs.render_claims import RenderClaims, hash_of
from reportd.core.jobs.transitions import JobEvent
from reportd.ports import AttemptStarted, Settlement
from reportd_web.security.access import PUBLIC, RULES
from tests.web.running import PARAMETERS, SIGNER, USER, Running
from tests.web.secured import Secured

TEXT = orjson.dumps(PARAMETERS).decode()
UNKNOWN = "4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e"


def token_of(task_id: str, attempt: int = 1, **fields: Any) -> str:
    now = int(time.time())
    claims = RenderClaims(
        "https://reports.internal", USER, task_id, attempt, "sales_summary", hash_of(TEXT), now, now + 60
    )
    return SIGNER.sign(replace(claims, **fields))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def started(running: Running, task_id: str) -> AttemptStarted:
    start = await running.jobs.start((await running.record(task_id)).job, "node", time.time())
    assert isinstance(start, AttemptStarted)
    return start


async def ended(running: Running, start: AttemptStarted, event: JobEvent) -> None:
    settlement = Settlement(start.record.job.task_id, event, time.time(), attempt_id=start.attempt_id)
    assert await running.jobs.settle(settlement) is not None


async def status(secured: Secured, task_id: str, token: str) -> int:
    answer = await secured.client.get(f"/reports/{task_id}/parameters", headers=bearer(token))
    return answer.status_code


# --- the parameters -----------------------------------------------------------------------------------------


async def test_an_operator_gets_the_parameters_as_the_page_gets_them(secured: Secured) -> None:
    task_id = await secured.task()
    for headers in secured.ways("operate"):
        answer = await secured.client.get(f"/reports/{task_id}/parameters", headers=headers)
        assert (answer.status_code, answer.text) == (200, TEXT)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
    for name in ("submit", "read"):
        assert (await secured.ask("GET", "/reports/{taskId}/parameters", secured.bearer(name), task_id)).status == 403
    assert (await secured.ask("GET", "/reports/{taskId}/parameters", secured.bearer("operate"), UNKNOWN)).status == 404
    assert (await secured.ask("GET", "/reports/{taskId}/parameters", secured.bearer("other"), task_id)).status == 404


async def test_the_token_of_a_running_attempt_opens_the_parameters_of_its_task(secured: Secured) -> None:
    task_id = await secured.task()
    await started(secured.running, task_id)
    answer = await secured.client.get(f"/reports/{task_id}/parameters", headers=bearer(token_of(task_id)))
    assert (answer.status_code, answer.text) == (200, TEXT)
    claims = jwt.decode(token_of(task_id), options={"verify_signature": False})
    assert sha256(answer.content).hexdigest() == claims["parametersSha256"]


async def test_any_other_render_token_is_refused(secured: Secured) -> None:
    running, task_id, other, waits = (
        secured.running,
        await secured.task(),
        await secured.task(),
        await secured.task(),
    )
    await started(running, task_id)
    await started(running, other)
    own = token_of(task_id)
    assert await status(secured, task_id, own) == 200
    assert await status(secured, other, own) == 401
    assert await status(secured, UNKNOWN, own) == 401
    assert await status(secured, UNKNOWN, token_of(UNKNOWN)) == 401
    assert await status(secured, waits, token_of(waits)) == 401
    assert await status(secured, task_id, token_of(task_id, attempt=2)) == 401
    assert await status(secured, task_id, token_of(task_id, expires_at=int(time.time()))) == 401
    assert await status(secured, task_id, own[:-4]) == 401
    answer = await secured.client.get(f"/reports/{other}/parameters", headers=bearer(own))
    assert answer.headers["www-authenticate"] == 'Bearer realm="reportd", error="invalid_token"'
    assert answer.json()["detail"] == (
        "this render token is not accepted; accepted: that of a running attempt of this report"
    )
    assert own not in answer.text


async def test_the_token_of_an_attempt_ends_with_it(secured: Secured) -> None:
    running = secured.running
    for event in (JobEvent.SUCCEEDED, JobEvent.RETRIED, JobEvent.DEAD_LETTERED, JobEvent.CANCELLED):
        task_id = await secured.task()
        start = await started(running, task_id)
        assert await status(secured, task_id, token_of(task_id)) == 200
        await ended(running, start, event)
        assert await status(secured, task_id, token_of(task_id)) == 401, event


async def test_the_token_of_an_earlier_attempt_is_refused_while_a_later_one_runs(secured: Secured) -> None:
    running, task_id = secured.running, await secured.task()
    await ended(running, await started(running, task_id), JobEvent.RETRIED)
    await started(running, task_id)
    assert await status(secured, task_id, token_of(task_id)) == 401
    assert await status(secured, task_id, token_of(task_id, attempt=2)) == 200


async def test_a_render_token_opens_nothing_else(secured: Secured) -> None:
    task_id = await secured.task()
    await started(secured.running, task_id)
    for method, template in secured.calls():
        answer = await secured.ask(method, template, bearer(token_of(task_id)), task_id)
        rule = RULES[method, template]
        if rule is not PUBLIC:
            assert answer.status == (200 if rule.render_token else 401), (method, template)


async def test_a_render_token_is_judged_also_where_no_tokens_are_needed(running: Running) -> None:
    task_id = await running.submit()
    path = f"/reports/{task_id}/parameters"
    assert (await running.client.get(path)).text == TEXT
    assert (await running.client.get(path, headers={"Authorization": "Bearer reportd_x"})).status_code == 200
    assert (await running.client.get(path, headers=bearer(token_of(task_id)))).status_code == 401
    await started(running, task_id)
    assert (await running.client.get(path, headers=bearer(token_of(task_id)))).status_code == 200


# --- the keys -----------------------------------------------------------------------------------------------


async def test_everybody_may_read_the_public_keys_and_keep_them_for_a_while(secured: Secured) -> None:
    answer = await secured.client.get("/.well-known/jwks.json")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    (key,) = answer.json()["keys"]
    assert (key["kid"], key["kty"], key["crv"], key["alg"], key["use"]) == ("first", "OKP", "Ed25519", "EdDSA", "sig")
    assert "d" not in key
    claims = jwt.decode(token_of(UNKNOWN), jwt.PyJWK(key), audience="https://reports.internal", issuer="reportd")
    assert claims["taskId"] == UNKNOWN
