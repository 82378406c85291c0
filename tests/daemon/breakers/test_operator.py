"""An operator's commands in every state of a breaker, by any name of the type, and their audit entries."""

import pytest
import trio

from reportd.breakers.admission import DeferredError
from reportd.breakers.operator import BreakerCommand, BreakerOperator, InapplicableCommandError, UnknownReportTypeError
from reportd.core.breaker.breaker import TRANSITIONS, Breaker, BreakerEvent, BreakerState
from reportd.ports import AuditEntry, UnavailableError
from reportd.telemetry.audit_recorder import Recorder
from tests.fleet import BadLine, Node, render

pytestmark = pytest.mark.usefixtures("autojump_clock")

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, FORCED_CLOSED = BreakerState


class Sales:
    def canonical(self, report_type: str) -> str | None:
        return "sales" if report_type in ("sales", "old_sales") else None


class Desk:
    """The operator interface of a node, and its audit entries."""

    def __init__(self) -> None:
        self.store = BadLine()
        self.node = Node(self.store)
        send, self.noted = trio.open_memory_channel[AuditEntry](10)
        self.controls = BreakerOperator(self.node, Sales(), Recorder(send), clock=lambda: 7.0)

    async def bring(self, state: BreakerState) -> None:
        breaker = Breaker("sales", state, epoch="e", version=1, since=1.7e9, until=9e9, reason="moving", by="bob")
        assert await self.store.inner.replace(0, breaker)


@pytest.fixture
async def desk() -> Desk:
    return Desk()


EVENTS = {
    BreakerCommand.OPEN: BreakerEvent.FORCED_OPEN,
    BreakerCommand.CLOSE: BreakerEvent.RESET,
    BreakerCommand.HOLD: BreakerEvent.FORCED_CLOSED,
    BreakerCommand.PROBE: BreakerEvent.HURRIED,
}


@pytest.mark.parametrize("state", list(BreakerState))
@pytest.mark.parametrize("order", list(BreakerCommand))
async def test_every_order_in_every_state(desk: Desk, state: BreakerState, order: BreakerCommand) -> None:
    """The stored state decides, whatever this node has cached."""
    await desk.bring(state)
    target = TRANSITIONS.get((state, EVENTS[order]))
    if target is None:
        with pytest.raises(InapplicableCommandError, match=r"^sales is "):
            await desk.controls.execute("sales", order, "ann", "why")
        assert ((await desk.store.kept()).version, desk.node.moves) == (1, [])
        return
    moved = await desk.controls.execute("sales", order, "ann", "why")
    assert (moved.state, moved.by, moved.reason) == (target, "ann", "why")
    assert moved == await desk.store.kept()
    (told,) = desk.node.moves
    assert (told.source, told.target, told.by, told.reason) == (state, target, "ann", "why")


@pytest.mark.parametrize(
    ("state", "order", "text"),
    [
        (CLOSED, BreakerCommand.PROBE, "sales is closed: its jobs are rendered, and none has to be a probe"),
        (HALF_OPEN, BreakerCommand.PROBE, "sales is half-open: its probe is under way, or its next job is the probe"),
        (FORCED_OPEN, BreakerCommand.OPEN, "sales is held open since 2023-11-14T22:13:20.000Z by bob: moving"),
        (FORCED_CLOSED, BreakerCommand.HOLD, "sales is held closed since 2023-11-14T22:13:20.000Z by bob: moving"),
    ],
)
async def test_a_refusal_says_how_it_stands(desk: Desk, state: BreakerState, order: BreakerCommand, text: str) -> None:
    await desk.bring(state)
    with pytest.raises(InapplicableCommandError) as caught:
        await desk.controls.execute("sales", order, "ann")
    assert str(caught.value) == text


async def test_jobs_do_as_they_are_told(desk: Desk) -> None:
    await desk.controls.execute("sales", BreakerCommand.OPEN, "ann", "moving")
    with pytest.raises(DeferredError, match="held open by ann: moving"):
        await render(desk.node)
    await desk.controls.execute("sales", BreakerCommand.PROBE, "ann")
    assert await render(desk.node)
    await desk.controls.execute("sales", BreakerCommand.OPEN, "ann")
    await desk.controls.execute("sales", BreakerCommand.CLOSE, "ann")
    assert not await render(desk.node)


async def test_an_alias_means_its_type(desk: Desk) -> None:
    moved = await desk.controls.execute("old_sales", BreakerCommand.OPEN, "ann")
    assert (moved.report_type, moved.reason) == ("sales", "by hand")
    assert [breaker.report_type for breaker in desk.controls.overview().breakers] == ["sales"]
    assert desk.controls.overview().resting == {"sales"}


async def test_an_unknown_type_has_no_breaker(desk: Desk) -> None:
    with pytest.raises(UnknownReportTypeError, match=r"accepted: sales$"):
        await desk.controls.execute("other", BreakerCommand.OPEN, "ann")
    assert len(desk.controls.overview().breakers) == 1


async def test_what_may_have_been_done_is_noted(desk: Desk) -> None:
    desk.store.away = True
    with pytest.raises(UnavailableError):
        await desk.controls.execute("sales", BreakerCommand.CLOSE, "ann", "why")
    noted = AuditEntry(7.0, "ann", "breaker.unanswered", "sales", {"order": "close", "reason": "why"})
    assert desk.noted.receive_nowait() == noted
    assert desk.node.moves == []
