"""The render token of an attempt: made when it begins, about its own job, and valid just beyond its deadline."""

from typing import Any

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.render_claims import RenderClaims, hash_of
from reportd.core.jobs.transitions import JobState
from reportd.ports import INLINE_BYTES, TokenPlace
from tests.daemon.node import USER, Node, World, job
from tests.fakes import EPOCH, now

pytestmark = pytest.mark.usefixtures("autojump_clock")


def world_with_tokens(**options: Any) -> World:
    world = World(**options)
    world.types.token = TokenPlace(header="Authorization")
    return world


def claims(world: World, task_id: str) -> list[RenderClaims]:
    """What the tokens of a task say, by attempt."""
    found = [world.signer.verify(token) for token in world.renderer.tokens[task_id]]
    assert None not in found
    return [one for one in found if one is not None]


async def test_the_token_is_about_the_job_and_its_attempt() -> None:
    world, one = world_with_tokens(), job(1, city="上海")
    await Node(world).handle(*await world.received(one))
    assert claims(world, one.task_id) == [
        RenderClaims(
            audience="https://reports.internal",
            user_id=USER,
            task_id=one.task_id,
            attempt=1,
            report_type="report",
            parameters_sha256=hash_of('{"city":"上海"}'),
            issued_at=int(EPOCH) - 10,
            expires_at=int(EPOCH) + 60 + 10,
        )
    ]


async def test_a_token_is_made_when_its_attempt_begins_however_long_the_job_has_waited_for_a_slot() -> None:
    world, jobs = world_with_tokens(slots=1), [job(1), job(2)]
    world.renderer.seconds = 500.0
    await Node(world).handle(*await world.received(*jobs))
    tokens = [token for one in jobs for token in claims(world, one.task_id)]
    assert sorted(token.issued_at - EPOCH for token in tokens) == [-10, 490]
    assert {token.expires_at - token.issued_at for token in tokens} == {10 + 60 + 10}


async def test_each_attempt_has_a_token_of_its_own() -> None:
    world, one = world_with_tokens(), job()
    world.renderer.faults[one.task_id] = [FaultKind.TIMEOUT]
    node = Node(world)
    await node.handle(*await world.received(one))
    await trio.sleep(60.0)
    await node.handle(*await world.queue.receive(1, 0.0))
    first, second = claims(world, one.task_id)
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.issued_at > first.issued_at


async def test_no_job_gets_the_token_of_another() -> None:
    world = world_with_tokens(slots=7)
    jobs = [job(number, n=number) for number in range(1, 61)]
    node = Node(world)
    messages = await world.received(*jobs[:10])
    for start in range(10, 60, 10):
        messages += await world.received(*jobs[start : start + 10])
    await node.handle(*messages)
    for one in jobs:
        (token,) = claims(world, one.task_id)
        assert (token.task_id, token.parameters_sha256) == (one.task_id, hash_of(f'{{"n":{one.parameters["n"]}}}'))


async def test_large_parameters_have_the_same_hash() -> None:
    world, one = world_with_tokens(), job(1, text="x" * INLINE_BYTES)
    await Node(world).handle(*await world.received(one))
    (token,) = claims(world, one.task_id)
    assert token.parameters_sha256 == hash_of('{"text":"' + "x" * INLINE_BYTES + '"}')


async def test_a_type_without_a_token_gets_none() -> None:
    world, one = World(), job()
    await Node(world).handle(*await world.received(one))
    assert world.renderer.tokens[one.task_id] == [""]


async def test_a_job_that_waited_for_a_slot_while_a_reload_removed_keys_and_token_is_rendered_without_one() -> None:
    world, jobs = world_with_tokens(slots=1), [job(1), job(2)]
    world.renderer.seconds = 50.0
    node = Node(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.handle, *await world.received(*jobs))
        await trio.sleep(20.0)
        world.types.token = None
        world.signer.reconfigure("reportd", [])
    records = [world.record(one) for one in jobs]
    assert [(record.state, record.tally.attempts) for record in records] == [(JobState.SUCCEEDED, 1)] * 2
    assert sorted(bool(token) for one in jobs for token in world.renderer.tokens[one.task_id]) == [False, True]


async def test_an_attempt_for_which_a_reload_left_no_key_fails_and_is_tried_again() -> None:
    world, one = world_with_tokens(), job()
    keys, node = world.signer, Node(world)
    keys.reconfigure("reportd", [])
    await node.handle(*await world.received(one))
    record = world.record(one)
    assert record.error is not None
    assert (record.state, record.error.kind) == (JobState.QUEUED, FaultKind.INTERNAL)
    assert "NoKeyError" in record.error.detail
    world.types.token = None
    await trio.sleep(60.0)
    await node.handle(*await world.queue.receive(1, 0.0))
    assert world.record(one).state is JobState.SUCCEEDED
    assert now() > EPOCH
