"""A queue in the daemon's own database, with the semantics of SQS, fair between users.

Fairness is start-time fair queuing: each message gets a turn after the last one of its user, but not before the
turn that is being served, and the lowest turn is served first. A user who queues a thousand messages gets a
thousand turns in a row; one who comes later with a single message gets the next.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import orjson
import trio
from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import messages
from reportd.ports import Depth, Outgoing, ReceiptLostError, Received

_LOOK_AGAIN_SECONDS = 5.0
"""Messages come through this process, which wakes the receiver; this is for clocks that are set."""

_CLAIM = (
    update(messages)
    .where(messages.c.id == bindparam("message"))
    .values(
        receipt=bindparam("token"),
        visible_at=bindparam("until"),
        receive_count=messages.c.receive_count + 1,
    )
)
_HELD = (messages.c.receipt == bindparam("token")) & (messages.c.visible_at > bindparam("now"))


class EmbeddedQueue:
    """Implements ``ports.Queue``. ``dead`` takes what was received ``max_receive_count`` times in vain."""

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        visibility_seconds: float,
        max_receive_count: int | None = None,
        dead: "EmbeddedQueue | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self._database = database
        self._name = name
        self._max_receive_count = max_receive_count
        self._dead = dead
        self._clock = clock
        self._served = 0
        self._news = trio.Event()

    async def recover(self) -> None:
        """Make visible what a predecessor held: one daemon owns the database file, so it must be dead."""
        now = self._clock()

        def change(connection: Connection) -> int:
            held = (
                messages.c.queue == self._name,
                messages.c.receipt.is_not(None),
                messages.c.visible_at > now,
            )
            connection.execute(update(messages).where(*held).values(visible_at=now, receipt=None))
            lowest = select(func.min(messages.c.turn)).where(messages.c.queue == self._name)
            return connection.execute(lowest).scalar() or 0

        self._served = await self._database.write(change)

    async def send(self, new: Sequence[Outgoing]) -> list[Exception | None]:
        now = self._clock()

        def change(connection: Connection) -> None:
            turns = self._turns(connection, {message.group for message in new})
            rows = []
            for message in new:
                turns[message.group] += 1
                rows.append(
                    {
                        "queue": self._name,
                        "body": message.body,
                        "report_type": message.report_type,
                        "grouping": message.group,
                        "turn": turns[message.group],
                        "visible_at": now + message.delay_seconds,
                        "sent_at": now,
                        "attributes": orjson.dumps(dict(message.attributes)).decode(),
                    }
                )
            connection.execute(insert(messages), rows)

        if new:
            await self._database.write(change)
            self._wake()
        return [None] * len(new)

    def _turns(self, connection: Connection, groups: Collection[str]) -> Counter[str]:
        """Each group's last turn, or the one being served if that is later."""
        last = (
            select(messages.c.grouping, func.max(messages.c.turn))
            .where(messages.c.queue == self._name, messages.c.grouping.in_(groups))
            .group_by(messages.c.grouping)
        )
        turns = Counter(dict.fromkeys(groups, self._served))
        for group, turn in connection.execute(last):
            turns[group] = max(self._served, turn)
        return turns

    async def receive(self, limit: int, wait_seconds: float, skip: Collection[str] = ()) -> list[Received]:
        deadline = trio.current_time() + wait_seconds
        while True:
            news = self._news
            # What is claimed must reach the caller, or nobody would know that it is held.
            with trio.CancelScope(shield=True):
                received, next_at = await self._claim(limit, frozenset(skip))
            remaining = deadline - trio.current_time()
            if received or remaining <= 0:
                return received
            pause = remaining if next_at is None else min(remaining, max(0.0, next_at - self._clock()))
            with trio.move_on_after(min(pause, _LOOK_AGAIN_SECONDS)):
                await news.wait()

    async def _claim(self, limit: int, skip: frozenset[str]) -> tuple[list[Received], float | None]:
        """What could be taken, or when to look again."""
        now = self._clock()
        visible = select(messages).where(messages.c.queue == self._name, messages.c.visible_at <= now)
        if skip:
            visible = visible.where(messages.c.report_type.not_in(skip))
        visible = visible.order_by(messages.c.turn, messages.c.id).limit(limit)
        later = select(func.min(messages.c.visible_at)).where(
            messages.c.queue == self._name, messages.c.visible_at > now
        )

        def change(connection: Connection) -> tuple[list[Received], float | None]:
            taken = []
            for row in connection.execute(visible).all():
                self._served = max(self._served, row.turn)
                if self._max_receive_count is not None and row.receive_count >= self._max_receive_count:
                    self._redrive(connection, row.id, row.attributes, now)
                    continue
                token = secrets.token_hex(16)
                connection.execute(_CLAIM, {"message": row.id, "token": token, "until": now + self.visibility_seconds})
                attributes = orjson.loads(row.attributes)
                taken.append(Received(token, row.body, row.receive_count + 1, row.sent_at, attributes))
            return taken, None if taken else connection.execute(later).scalar()

        return await self._database.write(change)

    def _redrive(self, connection: Connection, message_id: int, attributes: str, now: float) -> None:
        if self._dead is None:
            return
        told = orjson.loads(attributes) | {"reason": "exhausted_receives"}
        connection.execute(
            update(messages)
            .where(messages.c.id == message_id)
            .values(
                queue=self._dead._name,  # noqa: SLF001 - of this class
                visible_at=now,
                receipt=None,
                receive_count=0,
                attributes=orjson.dumps(told).decode(),
            )
        )

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        statement = delete(messages).where(messages.c.receipt.in_(receipts), messages.c.queue == self._name)
        await self._database.write(lambda connection: connection.execute(statement).rowcount)
        return [None] * len(receipts)

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        now = self._clock()
        given_up = case((bindparam("until") <= now, None), else_=messages.c.receipt)
        statement = update(messages).where(_HELD).values(visible_at=bindparam("until"), receipt=given_up)

        def change(connection: Connection) -> list[Exception | None]:
            outcomes: list[Exception | None] = []
            for token, seconds in changes:
                values = {"token": token, "now": now, "until": now + seconds}
                held = connection.execute(statement, values).rowcount
                outcomes.append(None if held else ReceiptLostError(token))
            return outcomes

        outcomes = await self._database.write(change)
        self._wake()
        return outcomes

    async def depth(self) -> Depth:
        now = self._clock()
        mine = messages.c.queue == self._name
        waits = messages.c.visible_at > now
        in_flight = waits & messages.c.receipt.is_not(None)
        statement = select(
            func.count(),
            func.count(case((waits, 1))),
            func.count(case((in_flight, 1))),
            func.min(case((~waits, messages.c.sent_at))),
        ).where(mine)

        def query(connection: Connection) -> Depth:
            total, waiting, held, oldest = connection.execute(statement).one()
            return Depth(total - waiting, held, waiting - held, oldest)

        return await self._database.read(query)

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()
