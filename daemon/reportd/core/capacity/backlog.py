"""Whether one more job may wait: the backlog is shared between report types and between users. Pure.

Whoever is alone may fill all of it. As soon as others' jobs wait as well, a report type or a user has its share, or an
even part of the whole where they are few. What one already holds beyond that costs the others nothing: it does not
count when the whole is judged. What an open breaker holds counts apart, for it can't be worked off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """What a submission was refused for."""

    BACKLOG = "backlog"
    REPORT_TYPE = "report_type"
    USER = "user"


UNAVAILABLE = "unavailable"
"""Refused for no limit: a part that a submission needs is away."""


@dataclass(frozen=True, slots=True)
class BacklogPolicy:
    """``most``: jobs that may wait. The shares are of ``most``, above 0 and up to 1."""

    most: int = 10000
    type_share: float = 0.5
    user_share: float = 0.25

    def of_type(self, types: int) -> int:
        """How many jobs of one report type may wait while those of so many types do, itself included."""
        return _part(self.most, self.type_share, types)

    def of_user(self, users: int) -> int:
        """The same for a user."""
        return _part(self.most, self.user_share, users)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a submission meets. ``of_type``, ``of_user``: jobs that wait of its report type and of its user; ``types``,
    ``users``: of how many jobs wait, its own included; ``counted``: the whole, without what anybody holds beyond a
    share.

    ``held``: the breaker of its type is open; then ``of_user`` and ``users`` are of this type alone.
    """

    of_type: int
    types: int
    of_user: int
    users: int
    counted: int
    held: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """``waiting`` are there, and no more than ``accepted`` may be."""

    limit: Limit
    waiting: int
    accepted: int
    held: bool = False


def refusal(found: Waiting, policy: BacklogPolicy) -> Refusal | None:
    """Why one more job may not wait; None when it may. Of the limits that are hit the lowest is told."""
    limits: list[tuple[Limit, int, int]] = []
    if not found.held:
        limits.append((Limit.BACKLOG, found.counted, policy.most))
    # Whoever is alone is judged by the whole, in which what is beyond another share does not count.
    if found.types > 1 or found.held:
        limits.append((Limit.REPORT_TYPE, found.of_type, policy.of_type(found.types)))
    if found.users > 1:
        limits.append((Limit.USER, found.of_user, policy.of_user(found.users)))
    hit = [Refusal(limit, there, most, found.held) for limit, there, most in limits if there >= most]
    return min(hit, key=lambda one: one.accepted, default=None)


def beyond(counts: Iterable[int], most: int) -> int:
    """How much of ``counts`` is above ``most`` each."""
    return sum(count - most for count in counts if count > most)


def _part(most: int, share: float, sharers: int) -> int:
    # The smallest backlog has room for one of each.
    return max(1, int(most * max(share, 1 / sharers)))
