"""The audit recorder: callers never wait, an unavailable database loses nothing, and the end is bounded."""

from collections.abc import Sequence

import pytest
import trio
from structlog.testing import capture_logs

from reportd.core.breaker.breaker import BreakerEvent, BreakerState, Transition
from reportd.ports import AuditEntry, UnavailableError
from reportd.telemetry.audit_recorder import LAST_SECONDS, MAX_WAITING, open_recorder
from tests.fakes.audit import FakeAudit
from tests.fleet import BadLine, Node, open_it

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Database(FakeAudit):
    """Takes ``seconds`` for each entry, fails on the action ``bad``, and on all while it is ``away``."""

    def __init__(self) -> None:
        super().__init__()
        self.back_at = 0.0
        self.seconds = 0.0
        self.bad = ""

    def away(self, seconds: float) -> None:
        self.back_at = trio.current_time() + seconds

    async def record(self, entries: Sequence[AuditEntry]) -> None:
        await trio.sleep(self.seconds)
        if trio.current_time() < self.back_at:
            raise UnavailableError("database", "is away")
        if any(entry.action == self.bad for entry in entries):
            raise TypeError
        await super().record(entries)


def deed(number: int, action: str = "breaker.tripped") -> AuditEntry:
    return AuditEntry(float(number), "n1", action, "sales", {"reason": "x"})


DEEDS = [deed(number) for number in range(20)]


async def test_what_is_noted_is_recorded_in_its_order() -> None:
    database = Database()
    async with open_recorder(database) as recorder:
        for entry in DEEDS:
            recorder.note(entry)
        assert database.entries == []
        await trio.sleep(1)
        assert database.entries == DEEDS


async def test_nothing_is_lost_while_the_database_is_away() -> None:
    database = Database()
    database.away(3600)
    async with open_recorder(database) as recorder:
        for entry in DEEDS:
            recorder.note(entry)
            await trio.sleep(100)
        assert database.entries == []
        await trio.sleep(1700)
        assert database.entries == DEEDS


async def test_no_job_waits_for_the_record_nor_fails_with_it() -> None:
    database = Database()
    database.seconds = float("inf")
    async with open_recorder(database) as recorder:
        node = Node(BadLine())
        node._listeners = (recorder.transition,)
        begun = trio.current_time()
        await open_it(node)
        assert (trio.current_time(), node.sales().state) == (begun, BreakerState.OPEN)


async def test_what_there_is_no_room_for_goes_to_the_log() -> None:
    database = Database()
    database.away(60)
    with capture_logs() as logs:
        async with open_recorder(database) as recorder:
            recorder.note(deed(0))
            await trio.sleep(1)
            for number in range(1, MAX_WAITING + 3):
                recorder.note(deed(number))
            await trio.sleep(100)
            assert database.entries == [deed(number) for number in range(MAX_WAITING + 1)]
    lost = [line for line in logs if line["event"] == "audit.lost"]
    assert [line["at"] for line in lost] == [MAX_WAITING + 1, MAX_WAITING + 2]
    assert (lost[0]["action"], lost[0]["subject"], lost[0]["detail"]) == ("breaker.tripped", "sales", {"reason": "x"})


async def test_an_entry_that_cannot_be_recorded_keeps_no_other_out() -> None:
    database = Database()
    database.bad = "bad"
    with capture_logs() as logs:
        async with open_recorder(database) as recorder:
            for entry in (deed(1), deed(2, "bad"), deed(3)):
                recorder.note(entry)
    assert database.entries == [deed(1), deed(3)]
    assert [line["at"] for line in logs if line["event"] == "audit.lost"] == [2.0]


@pytest.mark.parametrize("cut_off", [False, True])
async def test_at_the_end_what_waits_is_written(cut_off: bool) -> None:
    database = Database()
    database.seconds = LAST_SECONDS / 30
    with trio.CancelScope() as scope:
        async with open_recorder(database) as recorder:
            for entry in DEEDS:
                recorder.note(entry)
            if cut_off:
                scope.cancel()
    assert database.entries == DEEDS


async def test_the_end_does_not_wait_for_a_database_that_is_away() -> None:
    database = Database()
    database.away(3600)
    with capture_logs() as logs:
        begun = trio.current_time()
        async with open_recorder(database) as recorder:
            for entry in DEEDS:
                recorder.note(entry)
        recorder.note(deed(100))
    assert trio.current_time() - begun == pytest.approx(LAST_SECONDS)
    assert [line["at"] for line in logs if line["event"] == "audit.lost"] == [*(float(n) for n in range(20)), 100.0]


async def test_what_is_raised_in_the_block_leaves_it_bare() -> None:
    database = Database()

    async def fail() -> None:
        async with open_recorder(database) as recorder:
            recorder.note(deed(1))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert database.entries == [deed(1)]


async def test_a_move_of_a_breaker_is_told_whole() -> None:
    database = Database()
    change = Transition(
        "sales",
        BreakerState.HALF_OPEN,
        BreakerEvent.PROBE_FAILED,
        BreakerState.OPEN,
        5.0,
        "the probe failed",
        ("a",),
        "n2",
    )
    async with open_recorder(database) as recorder:
        recorder.transition(change)
    detail = {"before": "half_open", "after": "open", "reason": "the probe failed", "faults": ["a"]}
    assert database.entries == [AuditEntry(5.0, "n2", "breaker.probe_failed", "sales", detail)]
