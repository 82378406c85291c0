"""Until when each message handed out to this node is its own. Pure: the time is an argument.

SQS itself does not always tell a receipt whose visibility has ended from a good one, and refuses to keep a message
for more than twelve hours instead of keeping it for what is left of them.
"""

import math
from dataclasses import dataclass

MAX_VISIBILITY_SECONDS = 43200
"""From the moment a message is received (ChangeMessageVisibility)."""

_MAX_REMEMBERED = 20000


@dataclass(slots=True)
class _Hold:
    received_at: float
    until: float


class Receipts:
    """Times are of any one clock, in seconds."""

    def __init__(self) -> None:
        self._holds: dict[str, _Hold] = {}

    def add(self, receipt: str, now: float, visibility_seconds: float) -> None:
        """A message was handed out."""
        if len(self._holds) >= _MAX_REMEMBERED:
            self._holds = {receipt: hold for receipt, hold in self._holds.items() if hold.until > now}
        self._holds[receipt] = _Hold(now, now + visibility_seconds)

    def seconds(self, receipt: str, now: float, wanted_seconds: float) -> int | None:
        """How long SQS can be asked to keep it; None when it is not this node's any more.

        Unknown receipts are taken at their word.
        """
        hold = self._holds.get(receipt)
        left = MAX_VISIBILITY_SECONDS if hold is None else math.floor(hold.received_at + MAX_VISIBILITY_SECONDS - now)
        if left <= 0 or (hold is not None and hold.until <= now):
            return None
        return min(math.ceil(wanted_seconds), left)

    def kept(self, receipt: str, now: float, seconds: float) -> None:
        """SQS has agreed; with 0 seconds it is nobody's now."""
        if hold := self._holds.get(receipt):
            hold.until = now + seconds

    def lost(self, receipt: str, now: float) -> None:
        """SQS says that it is somebody else's."""
        self.kept(receipt, now, 0)

    def forget(self, receipt: str) -> None:
        """The message is gone."""
        self._holds.pop(receipt, None)
