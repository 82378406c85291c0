"""Whether one more job may wait. Report types and users share the backlog.

A single report type or user may fill all of it. Once jobs of others wait, each has its share, or an even part of the
whole where that is more. Jobs beyond a share do not count towards the whole, so they take nothing from the others. Jobs
that an open breaker holds count separately, because they can't be worked off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """The limit for which a submission was refused."""

    BACKLOG = "backlog"
    REPORT_TYPE = "report_type"
    USER = "user"


UNAVAILABLE = "unavailable"
"""Refused not by a limit, but because a part that a submission needs is away."""


@dataclass(frozen=True, slots=True)
class BacklogPolicy:
    """``most``: how many jobs may wait. Each share is a part of ``most``, above 0 and up to 1."""

    most: int = 10000
    type_share: float = 0.5
    user_share: float = 0.25

    def of_type(self, types: int) -> int:
        """Return how many jobs of one report type may wait while jobs of ``types`` types wait, its own included."""
        return _part(self.most, self.type_share, types)

    def of_user(self, users: int) -> int:
        """Return how many jobs of one user may wait while jobs of ``users`` users wait, its own included."""
        return _part(self.most, self.user_share, users)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The backlog at a submission. ``of_type``, ``of_user``: waiting jobs of its report type and its user.

    ``types``, ``users``: how many of them have waiting jobs, its own included. ``counted``: all waiting jobs, without
    those beyond a share. ``held``: the breaker of its type is open; then ``of_user`` and ``users`` are of this type
    only.
    """

    of_type: int
    types: int
    of_user: int
    users: int
    counted: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """``waiting`` jobs wait, and at most ``accepted`` may."""

    limit: Limit
    waiting: int
    accepted: int
    held: bool = False


def refusal(backlog: Waiting, policy: BacklogPolicy) -> Refusal | None:
    """Return why one more job may not wait; None when it may. Of several limits that are hit, the lowest is given."""
    limits: list[tuple[Limit, int, int]] = []
    if not backlog.held:
        limits.append((Limit.BACKLOG, backlog.counted, policy.most))
    # A single type or user is limited only by the whole, which leaves out jobs beyond another share.
    if backlog.types > 1 or backlog.held:
        limits.append((Limit.REPORT_TYPE, backlog.of_type, policy.of_type(backlog.types)))
    if backlog.users > 1:
        limits.append((Limit.USER, backlog.of_user, policy.of_user(backlog.users)))
    refusals = [Refusal(limit, count, most, backlog.held) for limit, count, most in limits if count >= most]
    return min(refusals, key=lambda refused: refused.accepted, default=None)


def sum_excess(counts: Iterable[int], most: int) -> int:
    """Return the sum of what each count exceeds ``most`` by."""
    return sum(count - most for count in counts if count > most)


def _part(most: int, share: float, sharers: int) -> int:
    # Even the smallest backlog has room for one job of each.
    return max(1, int(most * max(share, 1 / sharers)))
