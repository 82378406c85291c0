"""The order of messages: start-time fair queuing.

Each message gets a turn after the last one of its group, but not before the turn now being served. The lowest turn is
served first. A user who queues a thousand messages gets a thousand turns in a row; the single message of a later user
gets the next turn.

Turns are kept in the process. When several nodes share a queue, each knows only its own messages, so a user's share may
grow with the number of nodes that they use; nobody starves.

Source: Goyal, Vin, Cheng, "Start-time fair queuing", SIGCOMM 1996, with every message of the same cost.
"""

from collections.abc import Mapping

_KEEP = 1000


class Turns:
    """``served``: the turn being served; ``last``: the last turn of each group."""

    def __init__(self, served: int = 0, last: Mapping[str, int] | None = None) -> None:
        self._served = served
        self._last = dict(last or {})
        self._prune_at = _KEEP

    def next(self, group: str) -> int:
        """Return the turn of a new message of this group."""
        turn = max(self._served, self._last.get(group, 0)) + 1
        self._last[group] = turn
        if len(self._last) > self._prune_at:
            # A group without a future turn counts like a new one.
            self._last = {name: last for name, last in self._last.items() if last > self._served}
            self._prune_at = max(_KEEP, 2 * len(self._last))
        return turn

    def serve(self, turn: int) -> None:
        """Record that this turn is served. Deferred messages return with past turns."""
        self._served = max(self._served, turn)
