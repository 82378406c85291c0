"""Every queue: what is sent comes, as it was sent, at least once, and not for ever."""

import time

import pytest

from tests.contract.queue.queue_lab import QueueLab, Trait, is_empty, message, new_id, sent, take, take_one


async def test_a_message_comes_as_it_was_sent(lab: QueueLab) -> None:
    attributes = {"kind": "timeout", "reason": "the page said “später” → 後で 🕰"}
    before = time.time()
    await sent(lab.queue, message('{"name": "Žofie ≠ 日本語 🧾"}', attributes=attributes))
    received = await take_one(lab)
    assert received.body == '{"name": "Žofie ≠ 日本語 🧾"}'
    assert dict(received.attributes) == attributes
    assert received.receive_count == 1
    assert before - 1 <= received.sent_at <= time.time() + 1


async def test_a_body_of_200_kib(lab: QueueLab) -> None:
    body = '{"text": "' + "日本語 text " * 15_000 + '"}'
    assert len(body.encode()) > 200 * 1024
    await sent(lab.queue, message(body))
    assert (await take_one(lab)).body == body


async def test_the_largest_body_has_room_for_what_a_dead_letter_tells(lab: QueueLab) -> None:
    body = "x" * min(lab.queue.max_message_bytes, 1024 * 1024)
    attributes = {"kind": "timeout", "reason": "y" * 1000}
    await sent(lab.queue, message(body, attributes=attributes))
    received = await take_one(lab)
    assert received.body == body
    assert dict(received.attributes) == attributes


async def test_an_empty_queue_answers_nothing_at_once(lab: QueueLab) -> None:
    assert await lab.queue.receive(10, 0.0) == []


@pytest.mark.parametrize("limit", [1, 3, 10])
async def test_no_more_than_the_limit_is_handed_out(lab: QueueLab, limit: int) -> None:
    await sent(lab.queue, *[message() for _ in range(12)])
    assert 1 <= len(await lab.queue.receive(limit, lab.wait_seconds)) <= limit


async def test_everything_comes_once(lab: QueueLab) -> None:
    bodies = {f'{{"number": {number}}}' for number in range(25)}
    await sent(lab.queue, *[message(body) for body in bodies])
    received = await take(lab.queue, 26, lab.wait_seconds)
    assert len(received) == 25
    assert {one.body for one in received} == bodies


async def test_a_held_message_is_not_handed_out_again(lab: QueueLab) -> None:
    await sent(lab.queue, message())
    await take_one(lab)
    assert await is_empty(lab)


async def test_an_unsettled_message_comes_again_when_its_visibility_ends(lab: QueueLab) -> None:
    await sent(lab.queue, message("again"))
    first = await take_one(lab)
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    second = await take_one(lab)
    assert (second.body, second.receive_count) == ("again", 2)
    assert second.receipt != first.receipt


async def test_a_deleted_message_never_comes_again(lab: QueueLab) -> None:
    await sent(lab.queue, message())
    received = await take_one(lab)
    assert await lab.queue.delete([received.receipt]) == [None]
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    assert await is_empty(lab)


async def test_a_delayed_message_comes_when_its_delay_is_over(lab: QueueLab) -> None:
    lab.needs(Trait.DELAYS)
    await sent(lab.queue, message("late", delay_seconds=2.0), message("now"))
    assert [one.body for one in await take(lab.queue, 2, 0.0)] == ["now"]
    await lab.pass_time(2.1)
    assert (await take_one(lab)).body == "late"


async def test_a_message_received_too_often_goes_to_the_dead_letter_queue(lab: QueueLab) -> None:
    """With what it carries, and without standing in the way of the next one."""
    attributes = {"origin": "test"}
    await sent(lab.queue, message("poison", attributes=attributes))
    for count in range(1, lab.max_receive_count + 1):
        received = await take_one(lab)
        assert received.receive_count == count
        assert await lab.queue.set_visibility([(received.receipt, 0.0)]) == [None]
        assert await is_empty(lab, lab.dead)
    await sent(lab.queue, message("good"))
    [good] = await take(lab.queue, 1, lab.wait_seconds)
    assert good.body == "good"
    assert await is_empty(lab)
    [letter] = await take(lab.dead, 1, lab.wait_seconds)
    assert letter.body == "poison"
    assert attributes.items() <= dict(letter.attributes).items()
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    assert {one.body for one in await take(lab.queue, 10, 0.0)} == {"good"}


async def test_a_dead_letter_stays_until_it_is_deleted(lab: QueueLab) -> None:
    await sent(lab.dead, message("letter"))
    for _ in range(lab.max_receive_count + 1):
        [letter] = await take(lab.dead, 1, lab.wait_seconds)
        await lab.dead.set_visibility([(letter.receipt, 0.0)])
    [letter] = await take(lab.dead, 1, lab.wait_seconds)
    await lab.dead.delete([letter.receipt])
    assert await is_empty(lab, lab.dead)


async def test_skipped_report_types_stay_where_they_are(lab: QueueLab) -> None:
    lab.needs(Trait.SKIPS)
    await sent(lab.queue, message(report_type="broken"), message("good"), message(report_type="also_broken"))
    assert [one.body for one in await lab.queue.receive(10, 0.0, at_most={"broken": 0, "also_broken": 0})] == ["good"]
    assert await lab.queue.receive(10, 0.0, at_most={"broken": 0, "also_broken": 0}) == []
    left = await lab.queue.receive(10, 0.0)
    assert [one.receive_count for one in left] == [1, 1]


async def test_of_a_limited_report_type_no_more_come_than_it_may_have(lab: QueueLab) -> None:
    lab.needs(Trait.SKIPS)
    await sent(lab.queue, *(message(str(number), report_type="limited") for number in range(5)), message("other"))
    received = await lab.queue.receive(3, 0.0, at_most={"limited": 2})
    assert sorted(one.body for one in received) == ["0", "1", "other"]
    # What is in front of it does not hide what may be had.
    await sent(lab.queue, message("late"))
    assert [one.body for one in await lab.queue.receive(1, 0.0, at_most={"limited": 0})] == ["late"]
    left = await lab.queue.receive(10, 0.0, at_most={"limited": 9})
    assert [(one.body, one.receive_count) for one in left] == [("2", 1), ("3", 1), ("4", 1)]


async def test_a_user_who_comes_late_is_served_before_the_rest_of_a_heap(lab: QueueLab) -> None:
    lab.needs(Trait.FAIR)
    heap, late = new_id(), new_id()
    await sent(lab.queue, *[message("heap", group=heap) for _ in range(20)])
    first = await take(lab.queue, 3, 0.0)
    await sent(lab.queue, message("late", group=late))
    following = await take(lab.queue, 2, 0.0)
    assert [one.body for one in first] == ["heap"] * 3
    assert "late" in [one.body for one in following]


async def test_messages_of_one_user_come_in_their_order(lab: QueueLab) -> None:
    lab.needs(Trait.FAIR)
    user = new_id()
    for number in range(5):
        await sent(lab.queue, message(str(number), group=user))
    assert [one.body for one in await take(lab.queue, 5, 0.0)] == ["0", "1", "2", "3", "4"]


async def test_depth_counts_what_waits_what_is_held_and_what_is_put_off(lab: QueueLab) -> None:
    await sent(lab.queue, *[message() for _ in range(5)])
    held = await take(lab.queue, 2, lab.wait_seconds)
    if Trait.DELAYS in lab.traits:
        await sent(lab.queue, message(delay_seconds=60.0))
    depth = await lab.queue.depth()
    delayed = int(Trait.DELAYS in lab.traits)
    assert (depth.visible, depth.in_flight, depth.delayed) == (3, 2, delayed)
    assert depth.backlog == 3 + delayed
    await lab.queue.delete([held[0].receipt])
    await lab.queue.set_visibility([(held[1].receipt, 0.0)])
    depth = await lab.queue.depth()
    assert (depth.visible, depth.in_flight, depth.delayed) == (4, 0, delayed)


async def test_depth_tells_when_the_oldest_waiting_message_was_sent(lab: QueueLab) -> None:
    lab.needs(Trait.OLDEST)
    assert (await lab.queue.depth()).oldest_at is None
    await sent(lab.queue, message("old"))
    await lab.pass_time(10.0)
    await sent(lab.queue, message("new"))
    oldest_at = (await lab.queue.depth()).oldest_at
    old = await take_one(lab)
    assert oldest_at == old.sent_at
    new_oldest_at = (await lab.queue.depth()).oldest_at
    assert new_oldest_at is not None
    assert new_oldest_at - old.sent_at >= 10.0
