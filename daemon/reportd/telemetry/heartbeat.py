"""This node's signs of life, and what is made of those of the others: so the page of any node shows all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import structlog
import trio

from reportd.core.status.snapshot import BrowserView, Figures, Node
from reportd.ports import Fleet, Heartbeat, UnavailableError

SIGN_SECONDS = 5.0
"""How often a node gives one."""

LATE_SECONDS = 15.0
"""After so long without one, the page says how long ago the last one was."""

GONE_SECONDS = 60.0
FORGOTTEN_SECONDS = 900.0
LEAVE_SECONDS = 1.0

log = structlog.get_logger()


class HeartbeatReporter:
    """``here``: how this node stands now. ``single_node``: no other node can
    share the database, so any other that it names is dead."""

    def __init__(self, fleet: Fleet, here: Callable[[], Node], *, single_node: bool = False) -> None:
        self._fleet = fleet
        self._here = here
        self._forgotten_seconds = 0.0 if single_node else FORGOTTEN_SECONDS

    async def run(self) -> None:
        """Give signs of life until it is cancelled, which is the node's end."""
        name = self._here().name
        try:
            while True:
                try:
                    await self._fleet.forget(self._forgotten_seconds)
                    await self._fleet.report(name, told(self._here()))
                except UnavailableError as error:
                    log.warning("fleet.unreachable", error=str(error))
                await trio.sleep(SIGN_SECONDS)
        finally:
            with trio.move_on_after(LEAVE_SECONDS, shield=True):
                try:
                    await self._fleet.leave(name)
                except UnavailableError:
                    log.warning("fleet.not_left")


def told(node: Node) -> dict[str, Any]:
    """What a node tells of itself, as JSON."""
    return asdict(node)


def all_nodes(signs: Sequence[Heartbeat], here: Node) -> tuple[Node, ...]:
    """This node first, as it is now, and the others as they told."""
    others = [_node(sign) for sign in signs if sign.node != here.name]
    return (here, *others)


def _node(sign: Heartbeat) -> Node:
    """What another version of the daemon tells in another way is left out."""
    seen: dict[str, Any] = {
        "name": sign.node,
        "seen_at": sign.seen_at if sign.age_seconds > LATE_SECONDS else None,
        "gone": sign.age_seconds > GONE_SECONDS,
    }
    given = _known(Node, sign.told)
    try:
        browsers = tuple(BrowserView(**_known(BrowserView, one)) for one in given.pop("browsers", ()))
        figures = {name: Figures(**_known(Figures, one)) for name, one in (given.pop("figures", None) or {}).items()}
        return Node(**given | seen | {"browsers": browsers, "figures": figures})
    except (TypeError, AttributeError):
        return Node(**seen)


def _known(kind: Any, told: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in told.items() if name in names}
