"""Reports this node's heartbeat, and reads those of the others, so that the page of any node shows all nodes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import structlog
import trio

from reportd.core.status.snapshot import BrowserView, Figures, Node
from reportd.ports import Fleet, Heartbeat, UnavailableError

SIGN_SECONDS = 5.0
"""Interval of the heartbeats."""

LATE_SECONDS = 15.0
"""After this long without a heartbeat, the page shows the age of the last one."""

GONE_SECONDS = 60.0
FORGOTTEN_SECONDS = 900.0
LEAVE_SECONDS = 1.0

log = structlog.get_logger()


class HeartbeatReporter:
    """``here`` returns this node's state. ``single_node``: no other node can share the database, so all others in it
    are dead.
    """

    def __init__(self, fleet: Fleet, here: Callable[[], Node], *, single_node: bool = False) -> None:
        self._fleet = fleet
        self._here = here
        self._forgotten_seconds = 0.0 if single_node else FORGOTTEN_SECONDS

    async def run(self) -> None:
        """Report until cancelled; then remove this node."""
        name = self._here().name
        try:
            while True:
                try:
                    await self._fleet.forget(self._forgotten_seconds)
                    await self._fleet.report(name, as_document(self._here()))
                except UnavailableError as error:
                    log.warning("fleet.unreachable", error=str(error))
                await trio.sleep(SIGN_SECONDS)
        finally:
            with trio.move_on_after(LEAVE_SECONDS, shield=True):
                try:
                    await self._fleet.leave(name)
                except UnavailableError:
                    log.warning("fleet.not_left")


def as_document(node: Node) -> dict[str, Any]:
    """Return a node's state as a JSON document."""
    return asdict(node)


def all_nodes(signs: Sequence[Heartbeat], here: Node) -> tuple[Node, ...]:
    """Return this node first, as it is now, then the others by their last heartbeats."""
    others = [_node(heartbeat) for heartbeat in signs if heartbeat.node != here.name]
    return (here, *others)


def _node(heartbeat: Heartbeat) -> Node:
    """Read a heartbeat. Leave out fields that another version of the daemon writes differently."""
    presence: dict[str, Any] = {
        "name": heartbeat.node,
        "seen_at": heartbeat.seen_at if heartbeat.age_seconds > LATE_SECONDS else None,
        "gone": heartbeat.age_seconds > GONE_SECONDS,
    }
    state = _known_fields(Node, heartbeat.told)
    try:
        browsers = tuple(BrowserView(**_known_fields(BrowserView, row)) for row in state.pop("browsers", ()))
        rows = (state.pop("figures", None) or {}).items()
        figures = {name: Figures(**_known_fields(Figures, row)) for name, row in rows}
        return Node(**state | presence | {"browsers": browsers, "figures": figures})
    except (TypeError, AttributeError):
        return Node(**presence)


def _known_fields(kind: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in document.items() if name in names}
