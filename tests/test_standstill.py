"""The guard of all tests sees a step that is too long, and no other."""

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
