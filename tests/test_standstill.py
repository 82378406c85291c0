"""The guard of all tests sees a step that is too long, and no other."""

import gc
import time

import pytest
import trio

from tests.standstill import LIMIT_SECONDS, guarded_run


async def hold(seconds: float) -> None:
    await trio.lowlevel.checkpoint()
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point


async def sleep(seconds: float) -> None:
    await trio.sleep(seconds)


def test_a_loop_that_is_held_fails_its_test() -> None:
    with pytest.raises(AssertionError, match=r"the event loop stood still for 0\.\d+ s in .*"):
        guarded_run(lambda: hold(LIMIT_SECONDS + 0.05))


def test_a_loop_that_waits_does_not() -> None:
    guarded_run(lambda: sleep(LIMIT_SECONDS + 0.05))
    guarded_run(lambda: hold(LIMIT_SECONDS / 5))


def test_a_collection_of_all_that_the_tests_have_made_is_not_counted() -> None:
    def slow(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            time.sleep(0.4)

    async def main() -> None:
        await trio.lowlevel.checkpoint()
        gc.callbacks.append(slow)  # after the guard's own, so within what it takes for the collection
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(slow)

    guarded_run(main)
