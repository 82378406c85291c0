"""Faults of SQS and of the network to it, and what callers of the queue see."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import structlog
import trio

from reportd.adapters.aws import client
from reportd.adapters.aws.errors import RejectedError
from reportd.adapters.sqs import SqsQueue, open_sqs_queue
from reportd.ports import Outgoing, ReceiptLostError, UnavailableError
from tests.servers.aws import ask_sqs, new_queue, pretend_credentials, running_moto
from tests.servers.faulty_proxy import (
    Fault,
    Proxy,
    Response,
    answer,
    drop_after,
    drop_before,
    fail_entry,
    give_twice,
    hang,
    late,
    lose_entry,
    open_proxy,
    repeated,
    respond,
)

pytestmark = pytest.mark.stands_still("making a client of AWS takes a quarter of a second of parsing")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_credentials(monkeypatch)
    monkeypatch.setattr(client, "_ANSWER_SECONDS", {"sqs": 1.0, "s3": 1.0})
    # The library waits up to a second before its other attempt.
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


@pytest.fixture
async def proxy(server: str) -> AsyncIterator[Proxy]:
    async with open_proxy(server) as proxy:
        yield proxy


@asynccontextmanager
async def opened(server: str, proxy: Proxy, *, fifo: bool = False) -> AsyncIterator[SqsQueue]:
    """A new queue, reached through the proxy."""
    url = new_queue(server, fifo=fifo).replace(server, proxy.url)
    async with open_sqs_queue(url, visibility_seconds=2, depth_seconds=0) as queue:
        yield queue


def jobs(count: int) -> list[Outgoing]:
    return [Outgoing(f'{{"number":{number}}}', f"task-{number}", "sales", "user") for number in range(count)]


NO_GROUP = "Value user for parameter MessageGroupId is invalid. The parameter is not valid for this queue type"


async def test_a_standard_queue_that_takes_no_group_is_sent_none(server: str, proxy: Proxy) -> None:
    """Such as SQS before fair queues, LocalStack and ElasticMQ. No other message suffers."""
    proxy.plan("SendMessageBatch", fail_entry(0, "InvalidParameterValue", NO_GROUP, sender_fault=True))
    with structlog.testing.capture_logs() as logs:
        async with opened(server, proxy) as queue:
            for _ in range(2):
                assert await queue.send(jobs(3)) == [None] * 3
            assert (await queue.depth()).visible == 6
    assert [entry["parameter"] for entry in logs if entry["event"] == "queue.parameter_left_out"] == ["MessageGroupId"]
    sent = [json.loads(request.body or b"") for request in proxy.requests if request.operation == "SendMessageBatch"]
    assert [["MessageGroupId" in entry for entry in each["Entries"]] for each in sent] == [
        [True] * 3,
        [False],
        [False] * 3,
    ]


async def test_a_fifo_queue_is_not_sent_to_without_a_group(server: str, proxy: Proxy) -> None:
    proxy.plan("SendMessageBatch", fail_entry(0, "InvalidParameterValue", NO_GROUP, sender_fault=True))
    async with opened(server, proxy, fifo=True) as queue:
        [refused] = await queue.send(jobs(1))
        assert isinstance(refused, RejectedError)
    assert proxy.seen["SendMessageBatch"] == 1


async def test_a_queue_that_takes_no_attempt_id_is_asked_without(server: str, proxy: Proxy) -> None:
    proxy.plan("ReceiveMessage", answer(400, "InvalidParameterValue", "ReceiveRequestAttemptId is unknown"))
    with structlog.testing.capture_logs() as logs:
        async with opened(server, proxy, fifo=True) as queue:
            await queue.send(jobs(1))
            assert len(await queue.receive(1, 1.0)) == 1
    assert [entry["parameter"] for entry in logs if "parameter" in entry] == ["ReceiveRequestAttemptId"]
    asked = [request.body or b"" for request in proxy.requests if request.operation == "ReceiveMessage"]
    assert [b"ReceiveRequestAttemptId" in body for body in asked] == [True, False]


async def test_a_server_that_knows_names_only_is_asked_for_attributes_by_name(server: str, proxy: Proxy) -> None:
    proxy.plan("GetQueueAttributes", respond(b'{"Attributes":{}}'))
    async with opened(server, proxy, fifo=True) as queue:
        assert queue.attributes.fifo
        assert queue.attributes.arn.endswith(queue.name)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answer(500, "InternalError"), r"AWS answers InternalError \(500\)"),
        (answer(503, "ServiceUnavailable"), "overloaded"),
        (answer(400, "ThrottlingException", "Rate exceeded"), "throttling"),
        (answer(403, "RequestThrottled"), "throttling"),
        (drop_before, "broke"),
        (hang, "did not answer in time"),
    ],
    ids=["500", "503", "throttled", "throttled-403", "dropped", "time-out"],
)
async def test_trouble_that_lasts_is_told_and_trouble_that_passes_is_not(
    server: str, proxy: Proxy, fault: Fault, words: str
) -> None:
    async with opened(server, proxy) as queue:
        proxy.plan("SendMessageBatch", fault)
        assert await queue.send(jobs(1)) == [None]
        proxy.plan("SendMessageBatch", fault, fault)
        with pytest.raises(UnavailableError, match=words) as caught:
            await queue.send(jobs(2))
        assert caught.value.part == "queue"
        assert (await queue.depth()).visible == 1
        assert queue.requests["SendMessageBatch"] >= 3


@pytest.mark.parametrize("operation", ["ReceiveMessage", "GetQueueAttributes"])
async def test_every_question_tells_of_trouble(server: str, proxy: Proxy, operation: str) -> None:
    async with opened(server, proxy) as queue:
        proxy.plan(operation, *[answer(500, "InternalError")] * 2)
        with pytest.raises(UnavailableError):
            await (queue.receive(1, 0) if operation == "ReceiveMessage" else queue.depth())


async def test_every_settlement_tells_of_trouble(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(2))
        held = await queue.receive(2, 5)
        proxy.plan("DeleteMessageBatch", *[drop_before] * 2)
        proxy.plan("ChangeMessageVisibilityBatch", *[drop_before] * 2)
        with pytest.raises(UnavailableError):
            await queue.delete([message.receipt for message in held])
        with pytest.raises(UnavailableError):
            await queue.set_visibility([(message.receipt, 30) for message in held])
        assert await queue.delete([message.receipt for message in held]) == [None, None]


async def test_a_server_that_is_not_there_is_told_at_the_start(server: str) -> None:
    url = new_queue(server).replace(server, "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1 can't be reached: check the network"):
        async with open_sqs_queue(url, visibility_seconds=30):
            pass


async def test_a_send_whose_answer_is_lost_is_made_again(server: str, proxy: Proxy) -> None:
    """Twice in a standard queue, where the worker removes the duplicate; once in a FIFO queue, which knows it."""
    for fifo, copies in ((False, 2), (True, 1)):
        async with opened(server, proxy, fifo=fifo) as queue:
            proxy.plan("SendMessageBatch", drop_after)
            assert await queue.send(jobs(1)) == [None]
            assert (await queue.depth()).visible == copies


async def test_messages_whose_receive_is_lost_come_again(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(3))
        proxy.plan("ReceiveMessage", drop_after)
        with trio.fail_after(10):
            messages = await queue.receive(10, 5)
            while len(messages) < 3:
                messages += await queue.receive(10, 5)
        assert {message.receive_count for message in messages} == {2}


async def test_what_is_on_its_way_when_everything_is_cancelled_is_given_back(server: str, proxy: Proxy) -> None:
    url = new_queue(server)
    ask_sqs(url, "SendMessage", QueueUrl=url, MessageBody="{}")
    proxy.plan("ReceiveMessage", late(0.5))
    with trio.move_on_after(60) as scope:
        async with open_sqs_queue(url.replace(server, proxy.url), visibility_seconds=30) as queue:
            scope.deadline = trio.current_time() + 0.2
            await queue.receive(10, 20)
    assert scope.cancelled_caught
    told = ask_sqs(url, "ReceiveMessage", QueueUrl=url, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert told["Messages"][0]["Attributes"]["ApproximateReceiveCount"] == "2"


async def test_a_fifo_receive_is_repeated_under_the_same_name(server: str, proxy: Proxy) -> None:
    """SQS gives the lost messages to a retry with the same id."""
    async with opened(server, proxy, fifo=True) as queue:
        proxy.plan("ReceiveMessage", drop_after)
        await queue.receive(10, 0)
        await queue.receive(10, 0)
    attempts = [
        json.loads(request.body or b"")["ReceiveRequestAttemptId"]
        for request in proxy.requests
        if request.operation == "ReceiveMessage"
    ]
    assert attempts[0] == attempts[1] != attempts[2]


async def test_one_entry_of_a_batch_that_fails_fails_alone(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        proxy.plan("SendMessageBatch", fail_entry(1, "InternalError", sender_fault=False))
        outcomes = await queue.send(jobs(3))
        assert [outcomes[0], outcomes[2]] == [None, None]
        assert isinstance(outcomes[1], UnavailableError)
        proxy.plan("SendMessageBatch", fail_entry(0, "InvalidMessageContents", sender_fault=True))
        outcomes = await queue.send(jobs(2))
        assert isinstance(outcomes[0], RejectedError)
        assert outcomes[1] is None


async def test_one_entry_of_a_batch_that_is_lost_is_not_taken_for_done(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        proxy.plan("SendMessageBatch", lose_entry(2))
        outcomes = await queue.send(jobs(3))
        assert [outcomes[0], outcomes[1]] == [None, None]
        assert isinstance(outcomes[2], UnavailableError)
        held = await queue.receive(10, 5)
        proxy.plan("DeleteMessageBatch", lose_entry(0))
        outcomes = await queue.delete([message.receipt for message in held])
        assert isinstance(outcomes[0], UnavailableError)
        assert outcomes[1] is None


async def test_a_single_entry_that_fails_is_the_whole_call_that_fails(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(1))
        [held] = await queue.receive(1, 5)
        proxy.plan("DeleteMessageBatch", fail_entry(0, "InternalError", sender_fault=False))
        with pytest.raises(UnavailableError):
            await queue.delete([held.receipt])


async def test_a_batch_refused_for_one_entry_goes_out_one_by_one(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        proxy.plan("SendMessageBatch", answer(400, "InvalidParameterValue"))
        assert await queue.send(jobs(3)) == [None] * 3
        assert proxy.seen["SendMessageBatch"] == 4
        proxy.plan("SendMessageBatch", *[answer(400, "InvalidParameterValue")] * 2)
        outcomes = await queue.send(jobs(2))
        assert isinstance(outcomes[0], RejectedError)
        assert outcomes[1] is None


async def test_a_message_that_is_given_twice_is_settled_once(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(1))
        proxy.plan("ReceiveMessage", give_twice)
        one, other = await queue.receive(10, 5)
        assert one == other
        assert await queue.set_visibility([(one.receipt, 30), (other.receipt, 30)]) == [None, None]
        assert await queue.delete([one.receipt, other.receipt]) == [None, None]
        assert queue.requests["ChangeMessageVisibilityBatch"] == queue.requests["DeleteMessageBatch"] == 1


async def test_a_message_that_comes_after_it_was_deleted_can_be_deleted_again(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(1))
        kept: list[Response] = []
        proxy.plan("ReceiveMessage", *repeated(kept))
        [message] = await queue.receive(1, 5)
        await queue.delete([message.receipt])
        [again] = await queue.receive(1, 5)
        assert again == message
        [outcome] = await queue.set_visibility([(again.receipt, 30)])
        assert isinstance(outcome, ReceiptLostError)
        assert await queue.delete([again.receipt]) == [None]


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue"])
async def test_a_receipt_that_sqs_does_not_take_is_lost(server: str, proxy: Proxy, code: str) -> None:
    async with opened(server, proxy) as queue:
        await queue.send(jobs(2))
        one, other = await queue.receive(2, 5)
        proxy.plan("ChangeMessageVisibilityBatch", fail_entry(0, code, sender_fault=True))
        outcomes = await queue.set_visibility([(one.receipt, 30), (other.receipt, 30)])
        assert isinstance(outcomes[0], ReceiptLostError)
        assert outcomes[1] is None
        proxy.plan("DeleteMessageBatch", fail_entry(0, code, sender_fault=True))
        assert await queue.delete([one.receipt]) == [None]


async def test_an_answer_that_is_none_is_trouble(server: str, proxy: Proxy) -> None:
    """As a proxy with an error page of its own would answer."""
    greet = respond(b"<html>Welcome to our network</html>")
    async with opened(server, proxy) as queue:
        proxy.plan("SendMessageBatch", greet)
        with pytest.raises(UnavailableError, match="leaves an entry"):
            await queue.send(jobs(1))
        proxy.plan("ReceiveMessage", greet)
        assert await queue.receive(1, 0) == []
        proxy.plan("ReceiveMessage", respond(b'{"Messages": [{"Body": "{}"}]}'))
        with pytest.raises(UnavailableError, match="not from SQS"):
            await queue.receive(1, 0)


async def test_idle_costs_one_request_in_twenty_seconds(server: str, proxy: Proxy) -> None:
    async with opened(server, proxy) as queue:
        with trio.move_on_after(0.5):
            await queue.receive(10, 20)
        asked = [request for request in proxy.requests if request.operation == "ReceiveMessage"]
        assert [json.loads(request.body or b"")["WaitTimeSeconds"] for request in asked] == [20]
