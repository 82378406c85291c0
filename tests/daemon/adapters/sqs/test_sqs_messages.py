"""Messages to and from SQS, and the time a receipt is valid."""

from typing import Any

import pytest

from reportd.adapters.sqs.attributes import QueueAttributes, misfits, parse
from reportd.adapters.sqs.messages import (
    GroupBy,
    batched,
    has_forbidden_characters,
    outgoing_entry,
    received,
    size_bytes,
)
from reportd.adapters.sqs.receipts import Receipts
from reportd.ports import Outgoing

FIRST = Outgoing('{"a":1}', "task-1", "sales", "user-1")


def standard(message: Outgoing) -> dict[str, Any]:
    return outgoing_entry(message, fifo=False, group_by="task")


def fifo(message: Outgoing, group_by: GroupBy = "task") -> dict[str, Any]:
    return outgoing_entry(message, fifo=True, group_by=group_by)


def test_a_standard_queue_is_fair_between_users_and_can_delay() -> None:
    assert standard(FIRST) == {"MessageBody": '{"a":1}', "MessageGroupId": "user-1"}
    assert standard(Outgoing("{}", "t", "r", "u", delay_seconds=0.2))["DelaySeconds"] == 1
    assert standard(Outgoing("{}", "t", "r", "u", delay_seconds=5000))["DelaySeconds"] == 900


def test_a_message_without_a_user_has_no_group_on_a_standard_queue() -> None:
    assert standard(Outgoing("junk", "", "", "")) == {"MessageBody": "junk"}


@pytest.mark.parametrize(("group_by", "group"), [("task", "task-1"), ("user", "user-1"), ("reportType", "sales")])
def test_the_group_of_a_fifo_queue_is_chosen(group_by: GroupBy, group: str) -> None:
    assert fifo(FIRST, group_by)["MessageGroupId"] == group


def test_a_fifo_queue_is_asked_for_no_delay() -> None:
    assert "DelaySeconds" not in fifo(Outgoing("{}", "t", "r", "u", delay_seconds=5))


def test_a_first_message_is_known_by_its_task_and_every_later_one_is_new() -> None:
    assert fifo(FIRST)["MessageDeduplicationId"] == "task-1"
    letter = Outgoing("{}", "task-1", "sales", "user-1", attributes={"kind": "timeout"})
    one, other = fifo(letter)["MessageDeduplicationId"], fifo(letter)["MessageDeduplicationId"]
    assert len({one, other, "task-1"}) == 3
    junk = Outgoing("junk", "", "", "")
    assert fifo(junk)["MessageDeduplicationId"] != fifo(junk)["MessageDeduplicationId"]
    assert fifo(junk)["MessageGroupId"]


def test_a_group_that_sqs_would_refuse_is_replaced_by_one_that_stands_for_it() -> None:
    group = standard(Outgoing("{}", "t", "r", "Jürgen Ü"))["MessageGroupId"]
    assert group.isalnum()
    assert group == standard(Outgoing("{}", "t", "r", "Jürgen Ü"))["MessageGroupId"]
    assert group != standard(Outgoing("{}", "t", "r", "Jürgen Ö"))["MessageGroupId"]
    assert len(standard(Outgoing("{}", "t", "r", "u" * 129))["MessageGroupId"]) <= 128


def test_attributes_keep_what_sqs_takes_and_leave_empty_ones_out() -> None:
    message = Outgoing("{}", "t", "r", "u", attributes={"kind": "x", "empty": "", "reason": "a\x00b\ufffe"})
    assert standard(message)["MessageAttributes"] == {
        "kind": {"DataType": "String", "StringValue": "x"},
        "reason": {"DataType": "String", "StringValue": "a\ufffdb\ufffd"},
    }


@pytest.mark.parametrize("text", ["a\x00", "\x1b[0m", "\ufffe", "\uffff", "\ud800"])
def test_what_sqs_refuses_in_a_body_is_known(text: str) -> None:
    assert has_forbidden_characters(text)


def test_what_sqs_takes_in_a_body_is_known() -> None:
    assert not has_forbidden_characters('{"a":"ä€😀\t\r\n"}')


def test_the_size_counts_bytes_of_body_and_attributes() -> None:
    assert size_bytes(standard(Outgoing("ä€", "t", "r", "u"))) == 5
    assert size_bytes(standard(Outgoing("ab", "t", "r", "u", attributes={"kind": "xyz"}))) == 2 + 4 + 6 + 3


def test_batches_keep_to_ten_entries_and_to_their_bytes() -> None:
    assert batched([1] * 23, 100) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]
    assert batched([60, 40, 1, 99, 300, 1], 100) == [[0, 1], [2, 3], [4], [5]]
    assert batched([], 100) == []


def test_a_message_of_any_producer_is_read() -> None:
    message = received(
        {
            "ReceiptHandle": "r",
            "Body": "{}",
            "Attributes": {"ApproximateReceiveCount": "3", "SentTimestamp": "1700000000250"},
            "MessageAttributes": {
                "kind": {"DataType": "String", "StringValue": "x"},
                "count": {"DataType": "Number", "StringValue": "7"},
                "blob": {"DataType": "Binary", "BinaryValue": b"\x00"},
            },
        }
    )
    assert (message.receive_count, message.sent_at) == (3, 1700000000.25)
    assert message.attributes == {"kind": "x", "count": "7"}


class TestReceipts:
    def test_a_hold_ends_with_its_visibility(self) -> None:
        receipts = Receipts()
        receipts.add("r", now=100, visibility_seconds=30)
        assert receipts.allowed_seconds("r", 129, 30) == 30
        assert receipts.allowed_seconds("r", 130, 30) is None

    def test_a_hold_is_renewed(self) -> None:
        receipts = Receipts()
        receipts.add("r", now=100, visibility_seconds=30)
        receipts.extend("r", 120, 30)
        assert receipts.allowed_seconds("r", 149, 30) == 30
        assert receipts.allowed_seconds("r", 150, 30) is None

    def test_seconds_are_rounded_up_and_end_twelve_hours_after_the_receive(self) -> None:
        receipts = Receipts()
        receipts.add("r", now=100, visibility_seconds=43000)
        assert receipts.allowed_seconds("r", 101, 0.1) == 1
        assert receipts.allowed_seconds("r", 101, 0) == 0
        assert receipts.allowed_seconds("r", 700, 43200) == 42600
        receipts.extend("r", 700, 43200)
        assert receipts.allowed_seconds("r", 100 + 43200, 1) is None

    def test_what_was_given_back_or_lost_is_nobodys(self) -> None:
        receipts = Receipts()
        receipts.add("r", now=100, visibility_seconds=30)
        receipts.lose("r", 101)
        assert receipts.allowed_seconds("r", 101, 30) is None

    def test_unknown_receipts_are_taken_at_their_word(self) -> None:
        receipts = Receipts()
        assert receipts.allowed_seconds("r", 0, 50000) == 43200
        receipts.add("r", now=0, visibility_seconds=1)
        receipts.forget("r")
        assert receipts.allowed_seconds("r", 100, 5) == 5

    def test_messages_that_are_never_settled_do_not_pile_up(self) -> None:
        receipts = Receipts()
        for number in range(60000):
            receipts.add(str(number), now=number, visibility_seconds=1)
        assert len(receipts._leases) <= 20000


class TestAttributes:
    def test_an_answer_is_read(self) -> None:
        told = {
            "QueueArn": "arn:q",
            "FifoQueue": "true",
            "VisibilityTimeout": "60",
            "MaximumMessageSize": "1048576",
            "MessageRetentionPeriod": "1209600",
            "KmsMasterKeyId": "alias/x",
            "RedrivePolicy": '{"deadLetterTargetArn":"arn:d","maxReceiveCount":"5"}',
        }
        assert parse(told) == QueueAttributes("arn:q", True, 60, 1048576, 1209600, "alias/x", "arn:d", 5)

    @pytest.mark.parametrize(("size", "batch"), [(1024, 262144), (262144, 262144), (1048576, 1048576)])
    def test_a_batch_may_hold_what_the_server_surely_takes(self, size: int, batch: int) -> None:
        assert parse({"MaximumMessageSize": str(size)}).max_batch_bytes == batch

    @pytest.mark.parametrize(
        ("queue", "dead", "words"),
        [
            ({}, {}, "no redrive policy"),
            ({"dead_letter_arn": "arn:other", "max_receive_count": 20}, {}, "arn:other"),
            ({"dead_letter_arn": "arn:d", "max_receive_count": 3}, {}, "after 3 receives"),
            ({"dead_letter_arn": "arn:d", "max_receive_count": 20, "fifo": True}, {}, "different kinds"),
            ({"dead_letter_arn": "arn:d", "max_receive_count": 20}, {"retention_seconds": 60}, "for 60 s"),
            ({"dead_letter_arn": "arn:d", "max_receive_count": 20}, {}, ""),
        ],
    )
    def test_what_does_not_fit_is_said(self, queue: dict[str, Any], dead: dict[str, Any], words: str) -> None:
        base = {"fifo": False, "visibility_seconds": 60, "max_message_bytes": 262144, "retention_seconds": 345600}
        asked = QueueAttributes(**{"arn": "arn:q", **base, **queue})
        problems = list(misfits(asked, QueueAttributes(**{"arn": "arn:d", **base, **dead}), max_receive_count=20))
        assert len(problems) == bool(words)
        assert not words or words in problems[0]
