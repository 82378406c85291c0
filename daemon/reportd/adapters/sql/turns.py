"""Whose message is next: start-time fair queuing.

Each message gets a turn after the last one of its group, but not before the turn that is being served, and the
lowest turn is served first. A user who queues a thousand messages gets a thousand turns in a row; one who comes
later with a single message gets the next.

Turns are kept in the process. Where several nodes share a queue, each knows only the messages it sent itself, so
that a user's share may grow with the number of nodes he sends through; nobody starves all the same.

Source: Goyal, Vin, Cheng, "Start-time fair queuing", SIGCOMM 1996, with every message of the same cost.
"""

from collections.abc import Mapping

_KEEP = 1000


class Turns:
    """``served``: the turn being served; ``last``: each group's last one."""

    def __init__(self, served: int = 0, last: Mapping[str, int] | None = None) -> None:
        self._served = served
        self._last = dict(last or {})
        self._prune_at = _KEEP

    def next(self, group: str) -> int:
        turn = max(self._served, self._last.get(group, 0)) + 1
        self._last[group] = turn
        if len(self._last) > self._prune_at:
            # Who has no turn to come is as good as new.
            self._last = {name: last for name, last in self._last.items() if last > self._served}
            self._prune_at = max(_KEEP, 2 * len(self._last))
        return turn

    def serve(self, turn: int) -> None:
        """Messages that were put off come again with turns of the past."""
        self._served = max(self._served, turn)
