"""Every queue: settling messages, keeping them longer, giving them back; batches answer entry by entry."""

from reportd.ports import ReceiptLostError
from tests.contract.queue.queue_lab import QueueLab, Trait, is_empty, message, sent, take, take_one


async def test_it_tells_how_many_receives_it_allows(lab: QueueLab) -> None:
    assert lab.queue.max_receive_count == lab.max_receive_count
    assert lab.dead.max_receive_count is None


async def test_empty_batches_do_nothing(lab: QueueLab) -> None:
    assert await lab.queue.send([]) == []
    assert await lab.queue.delete([]) == []
    assert await lab.queue.set_visibility([]) == []


async def test_a_message_that_cannot_be_sent_fails_alone(lab: QueueLab) -> None:
    outcomes = await lab.queue.send([message("first"), message(lab.unsendable), message("third")])
    assert outcomes[0] is None
    assert isinstance(outcomes[1], Exception)
    assert outcomes[2] is None
    assert {one.body for one in await take(lab.queue, 3, lab.wait_seconds)} == {"first", "third"}


async def test_batches_of_any_size_answer_every_entry_in_its_place(lab: QueueLab) -> None:
    assert await lab.queue.send([message(str(number)) for number in range(25)]) == [None] * 25
    received = await take(lab.queue, 25, lab.wait_seconds)
    receipts = [one.receipt for one in received]
    gone = [receipts[3], receipts[17]]
    assert await lab.queue.delete(gone) == [None, None]
    outcomes = await lab.queue.set_visibility([(receipt, lab.queue.visibility_seconds) for receipt in receipts])
    lost = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, ReceiptLostError)]
    assert lost == [3, 17]
    assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[3], outcomes[17]]
    assert await lab.queue.delete(receipts) == [None] * 25
    assert (await lab.queue.depth()).in_flight == 0


async def test_deleting_twice_is_no_error(lab: QueueLab) -> None:
    await sent(lab.queue, message())
    received = await take_one(lab)
    assert await lab.queue.delete([received.receipt]) == [None]
    assert await lab.queue.delete([received.receipt]) == [None]


async def test_an_expired_receipt_still_deletes_what_nobody_else_has(lab: QueueLab) -> None:
    await sent(lab.queue, message())
    received = await take_one(lab)
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    assert await lab.queue.delete([received.receipt]) == [None]
    assert await is_empty(lab)


async def test_a_stale_receipt_does_not_delete_what_somebody_else_has(lab: QueueLab) -> None:
    lab.needs(Trait.STALE_RECEIPTS)
    await sent(lab.queue, message())
    stale = await take_one(lab)
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    await take_one(lab)
    assert await lab.queue.delete([stale.receipt]) == [None]
    assert (await lab.queue.depth()).in_flight == 1


async def test_a_message_given_back_is_there_at_once(lab: QueueLab) -> None:
    await sent(lab.queue, message("back"))
    received = await take_one(lab)
    assert await lab.queue.set_visibility([(received.receipt, 0.0)]) == [None]
    again = await take_one(lab)
    assert (again.body, again.receive_count) == ("back", 2)


async def test_a_message_put_off_comes_when_it_shall_and_not_before(lab: QueueLab) -> None:
    half = lab.queue.visibility_seconds / 2
    await sent(lab.queue, message())
    received = await take_one(lab)
    assert await lab.queue.set_visibility([(received.receipt, half)]) == [None]
    assert await is_empty(lab)
    await lab.pass_time(half + 0.1)
    assert (await take_one(lab)).receive_count == 2


async def test_a_message_kept_longer_stays_invisible(lab: QueueLab) -> None:
    seconds = lab.queue.visibility_seconds
    await sent(lab.queue, message())
    received = await take_one(lab)
    await lab.pass_time(seconds / 2)
    assert await lab.queue.set_visibility([(received.receipt, seconds)]) == [None]
    await lab.pass_time(seconds * 0.75)
    assert await is_empty(lab)
    assert await lab.queue.set_visibility([(received.receipt, seconds)]) == [None]
    assert await lab.queue.delete([received.receipt]) == [None]


async def test_each_entry_gets_its_own_visibility(lab: QueueLab) -> None:
    seconds = lab.queue.visibility_seconds
    await sent(lab.queue, message("short"), message("long"), message("now"))
    receipts = {one.body: one.receipt for one in await take(lab.queue, 3, lab.wait_seconds)}
    changes = [(receipts["long"], seconds * 2), (receipts["now"], 0.0), (receipts["short"], seconds / 2)]
    assert await lab.queue.set_visibility(changes) == [None, None, None]
    assert (await take_one(lab)).body == "now"
    await lab.pass_time(seconds / 2 + 0.1)
    assert (await take_one(lab)).body == "short"
    assert await is_empty(lab)


async def test_the_receipt_of_a_settled_message_is_lost(lab: QueueLab) -> None:
    await sent(lab.queue, message(), message())
    settled, held = await take(lab.queue, 2, lab.wait_seconds)
    await lab.queue.delete([settled.receipt])
    outcomes = await lab.queue.set_visibility([(settled.receipt, 1.0), (held.receipt, 1.0)])
    assert isinstance(outcomes[0], ReceiptLostError)
    assert outcomes[1] is None


async def test_a_receipt_is_lost_when_its_visibility_has_ended(lab: QueueLab) -> None:
    lab.needs(Trait.STALE_RECEIPTS)
    await sent(lab.queue, message())
    received = await take_one(lab)
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    [outcome] = await lab.queue.set_visibility([(received.receipt, 60.0)])
    assert isinstance(outcome, ReceiptLostError)
    assert (await take_one(lab)).receive_count == 2


async def test_a_stale_receipt_is_lost_and_the_newer_one_is_not(lab: QueueLab) -> None:
    lab.needs(Trait.STALE_RECEIPTS)
    await sent(lab.queue, message())
    stale = await take_one(lab)
    await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    newer = await take_one(lab)
    outcomes = await lab.queue.set_visibility([(stale.receipt, 0.0), (newer.receipt, 60.0)])
    assert isinstance(outcomes[0], ReceiptLostError)
    assert outcomes[1] is None
    assert await is_empty(lab)
