"""How long each received message still belongs to this node. Pure: the time is an argument.

SQS does not always tell an expired receipt from a valid one. And it refuses a visibility timeout beyond twelve hours
after the receive, instead of reducing it to the rest of them.
"""

import math
from dataclasses import dataclass

MAX_VISIBILITY_SECONDS = 43200
"""The limit from the moment a message is received (ChangeMessageVisibility)."""

_MAX_REMEMBERED = 20000


@dataclass(slots=True)
class _Lease:
    received_at: float
    until: float


class Receipts:
    """The receipts of this node. Times are in seconds of any one clock."""

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}

    def add(self, receipt: str, now: float, visibility_seconds: float) -> None:
        """Record a received message."""
        if len(self._leases) >= _MAX_REMEMBERED:
            self._leases = {receipt: lease for receipt, lease in self._leases.items() if lease.until > now}
        self._leases[receipt] = _Lease(now, now + visibility_seconds)

    def allowed_seconds(self, receipt: str, now: float, wanted_seconds: float) -> int | None:
        """Return the visibility timeout that SQS can be asked for; None if the message no longer is this node's.

        Unknown receipts count as valid.
        """
        lease = self._leases.get(receipt)
        left = MAX_VISIBILITY_SECONDS if lease is None else math.floor(lease.received_at + MAX_VISIBILITY_SECONDS - now)
        if left <= 0 or (lease is not None and lease.until <= now):
            return None
        return min(math.ceil(wanted_seconds), left)

    def extend(self, receipt: str, now: float, seconds: float) -> None:
        """Record that SQS has set the visibility timeout; 0 seconds means that it was given back."""
        if lease := self._leases.get(receipt):
            lease.until = now + seconds

    def lose(self, receipt: str, now: float) -> None:
        """Record that SQS has refused the receipt: the message belongs to another receiver."""
        self.extend(receipt, now, 0)

    def forget(self, receipt: str) -> None:
        """Remove a deleted message."""
        self._leases.pop(receipt, None)
