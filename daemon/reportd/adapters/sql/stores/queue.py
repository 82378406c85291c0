"""A queue in the daemon's own database, with the semantics of SQS, fair between users.

On SQLite one process owns it, and its own clock tells the time. On PostgreSQL any number of nodes may share it;
there the server's clock does, so that a node whose clock is wrong does not take what others hold.
"""

import math
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import trio
from sqlalchemy import Connection, Row

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.stores import messages as sql
from reportd.adapters.sql.text import storable
from reportd.adapters.sql.turns import Turns
from reportd.concurrency.grace import with_grace
from reportd.concurrency.signal import Signal
from reportd.ports import ANY, Depth, Outgoing, ReceiptLostError, Received, UnavailableError

CLAIM_SECONDS = 2.0
"""How long who is cancelled still waits for what the database hands out."""

_LOOK_AGAIN_SECONDS = 1.0
"""How often a waiting receiver looks for what other nodes have sent, and for what a clock that was set brings."""

MAX_MESSAGE_BYTES = 268435456
"""A quarter of what PostgreSQL holds in a value, and SQLite in a row."""


class EmbeddedQueue:
    """Implements ``ports.Queue``. ``dead`` takes what was received ``max_receive_count`` times in vain.

    What is sent is durable. That it was received, given back or deleted may be undone by a power cut, after which it
    is received once more.
    """

    max_message_bytes = MAX_MESSAGE_BYTES

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        visibility_seconds: float,
        max_receive_count: int | None = None,
        dead: "EmbeddedQueue | None" = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.visibility_seconds = visibility_seconds
        self._database = database
        self._name = name
        self.max_receive_count = max_receive_count
        self._dead = dead
        self._clock = clock
        self._turns = Turns()
        self._changed = Signal()

    async def recover(self) -> None:
        """Take up the turns where they stand.

        On SQLite also make visible what a predecessor held: one daemon owns the file, so it must be dead.
        """

        def change(connection: Connection) -> Turns:
            if self._database.is_sqlite:
                connection.execute(sql.RELEASE, {"name": self._name, "now": self._now(connection)})
            turns = connection.execute(sql.TURNS, {"name": self._name}).all()
            served = min((row.first for row in turns), default=1) - 1
            return Turns(served, {row.grouping: row.last for row in turns})

        self._turns = await self._database.write(change)

    async def send(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        if not messages:
            return []
        try:
            rows = [(message.delay_seconds, self._row(message)) for message in messages]

            def change(connection: Connection) -> None:
                now = self._now(connection)
                connection.execute(
                    sql.INSERT, [row | {"sent_at": now, "visible_at": now + delay} for delay, row in rows]
                )

            await self._database.write(change)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - answered to the message that can't be stored
            return [error] if len(messages) == 1 else await self._send_each(messages)
        self._changed.notify()
        return [None] * len(messages)

    async def _send_each(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """One of them can't be stored: each for itself, so that it fails alone."""
        outcomes: list[Exception | None] = []
        for message in messages:
            try:
                outcomes += await self.send([message])
            except UnavailableError as error:
                outcomes.append(error)
        return outcomes

    def _row(self, message: Outgoing) -> dict[str, Any]:
        attributes = {name: storable(value) for name, value in message.attributes.items()}
        return {
            "queue": self._name,
            "body": message.body,
            "report_type": message.report_type,
            "grouping": message.group,
            "turn": self._turns.next(message.group),
            "attributes": orjson.dumps(attributes).decode(),
        }

    async def receive(self, limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        deadline = trio.current_time() + wait_seconds
        while True:
            changed = self._changed.next()
            # What is claimed must reach the caller, or nobody would know that it is held until its visibility ends.
            received, due_seconds = await with_grace(partial(self._claim, limit, at_most), CLAIM_SECONDS)
            remaining = deadline - trio.current_time()
            if received or remaining <= 0:
                return received
            with trio.move_on_after(min(remaining, due_seconds, _LOOK_AGAIN_SECONDS)):
                await changed.wait()

    async def _claim(self, limit: int, at_most: Mapping[str, int]) -> tuple[list[Received], float]:
        """What could be taken, and in how many seconds the next one is due."""

        def change(connection: Connection) -> tuple[list[tuple[str, Row[Any]]], bool, float]:
            now = self._now(connection)
            until = now + self.visibility_seconds
            left = dict(at_most)
            claimed: list[tuple[str, Row[Any]]] = []
            redriven = False
            while more := limit - len(claimed):
                values = {"name": self._name, "now": now, "limit": more}
                if skip := [report_type for report_type, places in left.items() if places <= 0]:
                    rows = connection.execute(sql.VISIBLE_BUT, values | {"skip": skip}).all()
                else:
                    rows = connection.execute(sql.VISIBLE, values).all()
                if spent := [row for row in rows if self._is_spent(row)]:
                    self._redrive(connection, spent, now)
                    redriven = True
                fresh = [(secrets.token_hex(16), row) for row in rows if not self._is_spent(row) and _taken(row, left)]
                if fresh:
                    entries = [{"message": row.id, "token": token, "until": until} for token, row in fresh]
                    connection.execute(sql.CLAIM, entries)
                    claimed += fresh
                # What is behind messages that were moved away, or that may not be had now, may be.
                if len(fresh) == len(rows):
                    break
            due_at = None if claimed else connection.execute(sql.DUE, {"name": self._name, "now": now}).scalar()
            return claimed, redriven, math.inf if due_at is None else due_at - now

        claimed, redriven, due_seconds = await self._database.write(change, durably=False)
        if redriven and self._dead is not None:
            self._dead._changed.notify()  # noqa: SLF001 - of this class
        for _, row in claimed:
            self._turns.serve(row.turn)
        return [_received(token, row) for token, row in claimed], due_seconds

    def _is_spent(self, row: Row[Any]) -> bool:
        limit = self.max_receive_count
        return self._dead is not None and limit is not None and row.receive_count >= limit

    def _redrive(self, connection: Connection, rows: Sequence[Row[Any]], now: float) -> None:
        assert self._dead is not None  # noqa: S101 - nothing is spent where there is no place to go
        why = {"kind": "exhausted_receives", "reason": f"received {self.max_receive_count} times in vain"}
        moves = [
            {
                "message": row.id,
                "dead": self._dead._name,  # noqa: SLF001 - of this class
                "now": now,
                "told": orjson.dumps(orjson.loads(row.attributes) | why).decode(),
            }
            for row in rows
        ]
        connection.execute(sql.REDRIVE, moves)

    async def delete(self, receipts: Sequence[str]) -> list[Exception | None]:
        if receipts:
            values = {"name": self._name, "receipts": list(receipts)}
            await self._database.write(
                lambda connection: connection.execute(sql.DELETE, values).rowcount, durably=False
            )
        return [None] * len(receipts)

    async def set_visibility(self, changes: Sequence[tuple[str, float]]) -> list[Exception | None]:
        alike: dict[float, list[str]] = defaultdict(list)
        for receipt, seconds in changes:
            alike[seconds].append(receipt)

        def change(connection: Connection) -> set[str]:
            now = self._now(connection)
            held: set[str] = set()
            for seconds, receipts in alike.items():
                values = {"name": self._name, "now": now, "until": now + seconds, "receipts": receipts}
                held.update(connection.execute(sql.EXTEND, values).scalars())
            return held

        if not changes:
            return []
        held = await self._database.write(change, durably=False)
        if min(alike) < self.visibility_seconds:
            self._changed.notify()
        return [None if receipt in held else ReceiptLostError(receipt) for receipt, _ in changes]

    async def depth(self) -> Depth:
        def query(connection: Connection) -> Depth:
            values = {"name": self._name, "now": self._now(connection)}
            total, waiting, held, oldest = connection.execute(sql.DEPTH, values).one()
            return Depth(total - waiting, held, waiting - held, oldest)

        return await self._database.read(query)

    def _now(self, connection: Connection) -> float:
        return sql.now(connection) if self._clock is None else self._clock()


def _taken(row: Row[Any], left: dict[str, int]) -> bool:
    """Whether its type has a place left, which is its then."""
    places = left.get(row.report_type)
    if places is None:
        return True
    left[row.report_type] = places - 1
    return places > 0


def _received(receipt: str, row: Row[Any]) -> Received:
    return Received(receipt, row.body, row.receive_count + 1, row.sent_at, orjson.loads(row.attributes))
