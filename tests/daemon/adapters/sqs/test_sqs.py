"""An SQS queue, standard and FIFO, on a local server that speaks the protocol."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import trio

from reportd.adapters.aws.errors import MissingError, RejectedError
from reportd.adapters.sqs import check, open_sqs_queue
from reportd.ports import Depth, Outgoing, ReceiptLostError, Received
from tests.servers.aws import ask_sqs, new_queue, pretend_credentials, running_moto

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def url(request: pytest.FixtureRequest, server: str) -> str:
    return new_queue(server, fifo=request.param)


def job(**more: Any) -> Outgoing:
    number = next(_numbers)
    return Outgoing(f'{{"number":{number}}}', f"task-{number}", "sales", f"user-{number % 3}", **more)


async def test_a_message_goes_its_way(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        assert await queue.send([Outgoing("{}", "task", "sales", "user", attributes={"kind": "x"})]) == [None]
        [message] = await queue.receive(10, 5)
        assert (message.body, message.receive_count, message.attributes) == ("{}", 1, {"kind": "x"})
        assert 1.6e9 < message.sent_at < 4e9
        assert await queue.depth() == Depth(0, 1, 0)
        assert await queue.set_visibility([(message.receipt, 0)]) == [None]
        [again] = await queue.receive(10, 5)
        assert again.receive_count == 2
        assert await queue.delete([again.receipt]) == [None]
        assert await queue.receive(10, 0) == []


async def test_a_message_from_elsewhere_is_received(url: str) -> None:
    fifo = {"MessageGroupId": "g", "MessageDeduplicationId": "d"} if url.endswith(".fifo") else {}
    ask_sqs(url, "SendMessage", QueueUrl=url, MessageBody="from elsewhere", **fifo)
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        [message] = await queue.receive(1, 5)
    assert (message.body, message.attributes) == ("from elsewhere", {})


async def test_no_more_are_received_than_wanted(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        await queue.send([job() for _ in range(12)])
        assert len(await queue.receive(3, 5)) == 3
        assert len(await queue.receive(100, 5)) == 9


async def test_the_visibility_is_the_callers(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=1) as queue:
        await queue.send([job()])
        [message] = await queue.receive(1, 5)
        [again] = await queue.receive(1, 5)
        assert (again.body, again.receive_count) == (message.body, 2)
        [lost] = await queue.set_visibility([(message.receipt, 30)])
        assert isinstance(lost, ReceiptLostError)


async def test_what_is_held_is_kept_and_what_is_settled_is_lost(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        await queue.send([job(), job()])
        kept, settled = await queue.receive(2, 5)
        await queue.delete([settled.receipt])
        outcomes = await queue.set_visibility([(kept.receipt, 30), (settled.receipt, 30)])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], ReceiptLostError)


async def test_deleting_twice_and_deleting_nothing_is_no_error(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        await queue.send([job()])
        [message] = await queue.receive(1, 5)
        assert await queue.delete([message.receipt, message.receipt, "nonsense"]) == [None, None, None]
        assert await queue.delete([message.receipt]) == [None]
        assert await queue.delete([]) == []
        assert await queue.send([]) == []
        assert await queue.set_visibility([]) == []


async def test_a_delay_is_kept(server: str) -> None:
    async with open_sqs_queue(new_queue(server), visibility_seconds=30) as queue:
        await queue.send([job(delay_seconds=60)])
        assert await queue.depth() == Depth(0, 0, 1)
        assert await queue.receive(1, 0) == []


async def test_a_repeated_submission_adds_no_message_to_a_fifo_queue_but_a_redrive_does(server: str) -> None:
    async with open_sqs_queue(new_queue(server, fifo=True), visibility_seconds=30) as queue:
        first = Outgoing("{}", "task", "sales", "user")
        await queue.send([first])
        await queue.send([first])
        assert len(await queue.receive(10, 5)) == 1
        redrive = Outgoing("{}", "task", "sales", "user", attributes={"redrive": "1"})
        await queue.send([redrive])
        assert await queue.depth() == Depth(1, 1, 0)


async def test_a_poison_message_holds_up_no_other_task_of_a_fifo_queue(server: str) -> None:
    url = new_queue(server, fifo=True)
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        await queue.send([job(), job()])
        assert len(await queue.receive(1, 5)) == 1
        assert len(await queue.receive(1, 5)) == 1
    async with open_sqs_queue(url, visibility_seconds=30, group_by="reportType") as queue:
        await queue.send([job(), job()])
        assert len(await queue.receive(1, 5)) == 1
        assert await queue.receive(1, 0) == []


async def test_a_fifo_queue_keeps_the_order_of_a_large_send(server: str) -> None:
    async with open_sqs_queue(new_queue(server, fifo=True), visibility_seconds=30, group_by="user") as queue:
        await queue.send([Outgoing(str(number), f"task-{number}", "sales", "user") for number in range(60)])
        held: list[Received] = []
        while batch := await queue.receive(10, 0):
            held += batch
            await queue.delete([message.receipt for message in batch])
    assert [int(message.body) for message in held] == list(range(60))


async def test_a_message_that_is_too_large_fails_alone(server: str) -> None:
    url = new_queue(server, MaximumMessageSize="2048")
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        assert queue.max_message_bytes == 1536
        large = Outgoing("x" * 2049, "task", "sales", "user")
        just = Outgoing("x" * 2048, "task", "sales", "user")
        outcomes = await queue.send([job(), large, just])
        assert [outcomes[0], outcomes[2]] == [None, None]
        assert isinstance(outcomes[1], RejectedError)
        assert "2049 bytes" in str(outcomes[1])
        assert (await queue.depth()).visible == 2


async def test_a_body_that_sqs_refuses_fails_alone(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        outcomes = await queue.send([job(), Outgoing("\x00", "task", "sales", "user"), job()])
        assert [outcomes[0], outcomes[2]] == [None, None]
        assert isinstance(outcomes[1], RejectedError)


async def test_batches_are_split_at_a_mebibyte(server: str) -> None:
    async with open_sqs_queue(new_queue(server), visibility_seconds=30) as queue:
        large = [Outgoing("x" * 500_000, f"task-{n}", "sales", "user") for n in range(5)]
        assert await queue.send(large) == [None] * 5
        assert queue.requests["SendMessageBatch"] == 3
        assert (await queue.depth()).visible == 5


async def test_at_full_load_a_job_costs_less_than_half_a_request(url: str) -> None:
    jobs = [job() for _ in range(100)]
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        async with trio.open_nursery() as nursery:
            for each in jobs:
                nursery.start_soon(queue.send, [each])
        held: list[Received] = []
        while len(held) < len(jobs):
            held += await queue.receive(10, 5)
        assert await queue.set_visibility([(message.receipt, 30) for message in held]) == [None] * len(held)
        async with trio.open_nursery() as nursery:
            for message in held:
                nursery.start_soon(queue.delete, [message.receipt])
        assert {message.body for message in held} == {each.body for each in jobs}
        assert await queue.depth() == Depth(0, 0, 0)
        del queue.requests["GetQueueAttributes"]
        assert queue.requests.total() <= 50, queue.requests


async def test_depth_is_asked_once_a_second(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(queue.depth)
        assert queue.requests["GetQueueAttributes"] == 1
        await trio.sleep(1.1)
        await queue.depth()
        assert queue.requests["GetQueueAttributes"] == 2


async def test_a_cancelled_receive_strands_nothing(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        with trio.move_on_after(0.2):
            await queue.receive(10, 20)
        await queue.send([job()])
        with trio.fail_after(5):
            [message] = await queue.receive(10, 5)
        assert message.receive_count == 1


async def test_what_arrives_for_nobody_is_visible_again_at_once(url: str) -> None:
    async with open_sqs_queue(url, visibility_seconds=30) as queue:
        with trio.move_on_after(0.2):
            await queue.receive(10, 20)
        await queue.send([job()])
        with trio.fail_after(5):
            while queue.requests["ChangeMessageVisibilityBatch"] == 0:
                await trio.sleep(0.05)
            while not (await queue.depth()).visible:
                await trio.sleep(0.2)


async def test_closing_in_the_middle_of_a_poll_is_quick_even_when_cancelled(url: str) -> None:
    start = trio.current_time()
    with trio.move_on_after(0.3):
        async with open_sqs_queue(url, visibility_seconds=30) as queue:
            await queue.receive(10, 20)
    assert trio.current_time() - start < 4


async def test_what_does_not_fit_is_found(server: str) -> None:
    dead = new_queue(server)
    url = new_queue(server)
    [problem] = await check(url, dead, max_receive_count=20)
    assert "no redrive policy" in problem
    missing = url + "-missing"
    problems = await check(missing, dead, max_receive_count=20)
    assert len(problems) == 1
    assert "does not exist" in problems[0]
    with pytest.raises(MissingError, match="reportd provision"):
        async with open_sqs_queue(missing, visibility_seconds=30):
            pass


async def test_a_queue_that_fits_has_no_problems(server: str) -> None:
    dead = new_queue(server, MessageRetentionPeriod="1209600")
    name = dead.rpartition("/")[2]
    policy = f'{{"deadLetterTargetArn":"arn:aws:sqs:eu-central-1:123456789012:{name}","maxReceiveCount":20}}'
    url = new_queue(server, RedrivePolicy=policy)
    assert await check(url, dead, max_receive_count=20) == []
