"""Counts the waiting jobs by report type and user, and refuses jobs as ``core.capacity.backlog`` decides.

The job store counts them, which takes long for a large backlog. So it counts at intervals, and only while jobs come in.
Between two counts, this node adds each job that it accepts. Jobs that other nodes accept appear in the next count.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
import trio

from reportd.concurrency.cached import DUTY_FACTOR
from reportd.core.capacity.backlog import BacklogPolicy, Limit, Refusal, Waiting, refusal, sum_excess
from reportd.ports import NULL_METER, Jobs, Meter, Queue, UnavailableError
from reportd.system.log_throttle import ThrottledLog

MAX_REST_SECONDS = 60.0
"""The longest pause between two counts."""

log = structlog.get_logger()

Cells = Mapping[tuple[str, str], int]
"""How many jobs wait, by report type and user."""


class BusyError(Exception):
    """The backlog has no room for this job; the same call may work later."""

    def __init__(self, refused: Refusal, report_type: str, user_id: str) -> None:
        kind, key = {
            Limit.BACKLOG: ("jobs", "queue.max_backlog"),
            Limit.REPORT_TYPE: (f"jobs of {report_type}", "queue.max_type_share"),
            Limit.USER: (f"jobs of user {user_id}", "queue.max_user_share"),
        }[refused.limit]
        held = f", while the breaker of {report_type} is open" if refused.held else ""
        super().__init__(f"{refused.waiting} {kind} wait already, and {refused.accepted} may ({key}){held}")
        self.refused = refused


class Backlog:
    """One per node. ``held``: the report types whose breaker is open, so that their jobs wait."""

    def __init__(
        self,
        policy: BacklogPolicy,
        *,
        jobs: Jobs,
        queue: Queue,
        held: Callable[[], frozenset[str]] = frozenset,
        meter: Meter = NULL_METER,
    ) -> None:
        self._policy = policy
        self._jobs = jobs
        self._queue = queue
        self._held = held
        self._meter = meter
        self._tally = _Tally({}, frozenset(), policy)
        self._sent_directly = 0
        self._pending: Counter[tuple[str, str]] = Counter()
        self._since_count: Counter[tuple[str, str]] = Counter()
        # A throttle for each limit; else frequent refusals by one limit would hide those by another.
        self._logs = {limit: ThrottledLog(log) for limit in Limit}

    @contextmanager
    def reserve(self, report_type: str, user_id: str) -> Iterator[Callable[[], None]]:
        """Enclose the acceptance of a job, and reserve a place in the backlog. Raises BusyError if there is none.

        The place is given back when the block raises, or when the block calls the function that it gets.
        """
        self._check(report_type, user_id)
        cell, waits = (report_type, user_id), True

        def give_back() -> None:
            nonlocal waits
            waits = False

        accepted = False
        self._add(cell, 1)
        self._pending[cell] += 1
        try:
            yield give_back
            accepted = True
        finally:
            _set(self._pending, cell, self._pending[cell] - 1)
            if not (accepted and waits):
                self._add(cell, -1)

    def _check(self, report_type: str, user_id: str) -> None:
        held = self._held()
        if held != self._tally.held:
            self._tally = _Tally(self._tally.cells, held, self._policy)
        refused = refusal(self._tally.waiting(report_type, user_id, self._sent_directly), self._policy)
        if refused is not None:
            self._meter.refused(report_type, refused.limit)
            self._logs[refused.limit].warning(
                "submission.refused",
                reason=refused.limit,
                reportType=report_type,
                userId=user_id,
                waiting=refused.waiting,
                accepted=refused.accepted,
                held=refused.held,
            )
            raise BusyError(refused, report_type, user_id)

    def _add(self, cell: tuple[str, str], count: int) -> None:
        self._since_count[cell] += count
        self._tally.add(cell, count)

    async def watch(self, interval_seconds: float) -> None:
        """Count every ``interval_seconds`` while jobs come in.

        After a slow count, wait ``DUTY_FACTOR`` times its duration, so that counting uses little of the store's time.
        """
        counted = False  # jobs may wait from before the start
        while True:
            started_at, rest_seconds = trio.current_time(), interval_seconds
            if (self._tally.all or not counted) and await self._count():
                counted = True
                took_seconds = trio.current_time() - started_at
                rest_seconds = max(interval_seconds, min(DUTY_FACTOR * took_seconds, MAX_REST_SECONDS))
            await trio.sleep(rest_seconds)

    async def _count(self) -> bool:
        """Count the waiting jobs. Return False when the queue or the job store is unavailable."""
        try:
            depth = await self._queue.depth()
            # The count may miss the row of a job that is being accepted. No job must be left out, so add them all; a
            # job that is accepted during the count may count twice until the next one.
            self._since_count = Counter(self._pending)
            counted = Counter(await self._jobs.waiting())
        except UnavailableError as error:
            log.warning("queue.depth_unknown", error=str(error))
            return False
        self._sent_directly = max(0, depth.backlog - counted.total())
        for cell, count in self._since_count.items():
            counted[cell] += count
        self._tally = _Tally(counted, self._held(), self._policy)
        return True


class _Tally:
    """Sums over the cells, updated as jobs come and go, so that a submission need not iterate over all users."""

    def __init__(self, cells: Cells, held: frozenset[str], policy: BacklogPolicy) -> None:
        self.held = held
        self.cells: Counter[tuple[str, str]] = Counter()
        self.all = 0
        self._policy = policy
        self._types: Counter[str] = Counter()
        self._users_of_type: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        # The few users who may have more than their share.
        self._large_users: set[str] = set()
        self._least = policy.of_user(policy.most)
        for cell, count in cells.items():
            self.add(cell, count)

    def add(self, cell: tuple[str, str], count: int) -> None:
        report_type, user_id = cell
        before, after = self.cells[cell], max(0, self.cells[cell] + count)
        _set(self.cells, cell, after)
        self.all += after - before
        _set(self._types, report_type, self._types[report_type] + after - before)
        _set(self._users_of_type, report_type, self._users_of_type[report_type] + bool(after) - bool(before))
        if report_type not in self.held:
            _set(self._users, user_id, self._users[user_id] + after - before)
            if self._users[user_id] > self._least:
                self._large_users.add(user_id)
            else:
                self._large_users.discard(user_id)

    def waiting(self, report_type: str, user_id: str, sent_directly: int) -> Waiting:
        """Return the facts to decide on one more job. ``sent_directly``: messages that bypassed the intake."""
        policy, cell = self._policy, self.cells[report_type, user_id]
        if report_type in self.held:
            return Waiting(
                of_type=self._types[report_type],
                types=len(self._types) + (report_type not in self._types),
                of_user=cell,
                users=self._users_of_type[report_type] + (not cell),
                counted=self.all,
                held=True,
            )
        workable = {name: count for name, count in self._types.items() if name not in self.held}
        types = len(workable) + (report_type not in workable)
        users = len(self._users) + (user_id not in self._users)
        excess = max(
            sum_excess(workable.values(), policy.of_type(types)),
            sum_excess((self._users[name] for name in self._large_users), policy.of_user(users)),
        )
        return Waiting(
            of_type=self._types[report_type],
            types=types,
            of_user=self._users[user_id],
            users=users,
            counted=sum(workable.values()) - excess + sent_directly,
        )


def _set(counts: "Counter[Any]", name: Any, count: int) -> None:
    if count:
        counts[name] = count
    else:
        del counts[name]
