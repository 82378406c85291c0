"""Nodes that share breakers, and a store behind an unreliable connection."""

from collections.abc import Collection, Sequence
from typing import NoReturn

import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.core.breaker.breaker import Breaker, BreakerPolicy, BreakerState, Transition
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import BreakerStore, StoredBreakers, UnavailableError

TIMEOUT_SECONDS = 60.0


class Node(Breakers):
    """``moves``: the transitions that its listeners heard of."""

    def __init__(self, store: BreakerStore, name: str = "n1", policy: BreakerPolicy | None = None) -> None:
        self.moves: list[Transition] = []
        super().__init__(
            store, policy or BreakerPolicy(), node=name, report_types=["sales"], listeners=[self.moves.append]
        )

    def sales(self) -> Breaker:
        return self.snapshot()[0]


async def start_nodes(stores: Sequence[BreakerStore], policy: BreakerPolicy, nursery: trio.Nursery) -> list[Node]:
    nodes = [Node(store, f"n{number}", policy) for number, store in enumerate(stores, 1)]
    for node in nodes:
        await nursery.start(node.run)
    return nodes


def fail(fault: FaultKind = FaultKind.TIMEOUT) -> NoReturn:
    raise FaultError(fault, "as asked for")


async def render(node: Breakers, fault: FaultKind | None = None, report_type: str = "sales") -> bool:
    """Run a job that takes no time. Return whether it was the probe."""
    try:
        async with node.admit(report_type, TIMEOUT_SECONDS) as admission:
            if fault:
                fail(fault)
            admission.succeeded(1.0)
    except FaultError:
        pass
    return admission.probe


async def open_it(node: Breakers) -> None:
    """Open the breaker by three failures."""
    for _ in range(3):
        await render(node, FaultKind.TIMEOUT)


async def all_see(nodes: Sequence[Node], state: BreakerState, within_seconds: float = 1.0) -> None:
    with trio.fail_after(within_seconds):
        while any(node.sales().state is not state for node in nodes):
            await trio.sleep(0.01)


class BadLine:
    """``MemoryBreakers`` that can be slow, out of reach or full. ``seen``: the calls that arrived."""

    def __init__(self) -> None:
        self.inner = MemoryBreakers()
        self.away = False
        self.full = False
        self.seconds = 0.0
        self.answer_seconds = 0.0
        self.seen: list[str] = []

    async def load(self, report_types: Collection[str]) -> StoredBreakers:
        await self._travel("load")
        kept = await self.inner.load(report_types)
        await trio.sleep(self.answer_seconds)
        return kept

    async def replace(self, version: int, breaker: Breaker, *, durable: bool = False) -> bool:
        await self._travel("replace")
        if self.full:
            raise UnavailableError("redis", "is out of memory")
        return await self.inner.replace(version, breaker, durable=durable)

    async def _travel(self, call: str) -> None:
        await trio.sleep(self.seconds)
        if self.away:
            raise UnavailableError("redis", "can't be reached")
        self.seen.append(call)

    async def kept(self) -> Breaker:
        """Return what the store keeps, without using the connection."""
        return (await self.inner.load(["sales"])).breakers["sales"]
