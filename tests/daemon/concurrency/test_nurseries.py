"""Background tasks end with their block, and exceptions leave it without a group."""

import pytest
import trio

from reportd.concurrency.nurseries import open_background, sole_exception

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def fail(error: Exception) -> None:
    await trio.sleep(1.0)
    raise error


async def fail_late(error: Exception) -> None:
    """Raise although cancelled, and after more waiting."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(2.0)
        raise error


async def block(*errors: Exception, late: bool = False, own: Exception | None = None) -> None:
    """Run a block with a task for each error, and one that only serves."""
    async with open_background() as nursery:
        nursery.start_soon(trio.sleep_forever)
        for error in errors:
            nursery.start_soon(fail_late if late else fail, error)
        if own is not None:
            await fail(own)
        await trio.sleep_forever()


async def test_the_tasks_end_with_the_block() -> None:
    async with open_background() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep(3.0)
    assert trio.current_time() == 3.0


async def test_an_exception_of_the_block_leaves_it_bare() -> None:
    with pytest.raises(KeyError):
        await block(own=KeyError())


async def test_an_exception_of_a_task_ends_the_block_and_leaves_it_bare() -> None:
    with pytest.raises(KeyError):
        await block(KeyError())


async def test_an_exception_before_a_task_has_started_is_bare_as_well() -> None:
    async def start(task_status: trio.TaskStatus[None]) -> None:
        await fail(KeyError())
        task_status.started()

    async def starts() -> None:
        async with open_background() as nursery:
            await nursery.start(start)

    with pytest.raises(KeyError):
        await starts()


async def test_two_failures_stay_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await block(ValueError(), late=True, own=KeyError())
    assert {type(error) for error in caught.value.exceptions} == {KeyError, ValueError}


async def test_a_failure_while_everything_is_being_cancelled_is_bare_too() -> None:
    """Otherwise ``except KeyError`` would miss it, only because a deadline passed at the same time."""
    with trio.move_on_after(1.0), pytest.raises(KeyError):
        await block(KeyError(), late=True)


async def test_cancellation_reaches_its_own_scope() -> None:
    with trio.move_on_after(1.0) as scope:
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_alone_looks_through_groups_of_one() -> None:
    error = KeyError()
    assert sole_exception(error) is error
    assert sole_exception(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    two = ExceptionGroup("", [error, ValueError()])
    assert sole_exception(two) is two
