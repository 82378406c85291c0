"""A queue in the daemon's own database, with the semantics of SQS, and fair between users.

On SQLite one process owns the queue and uses its own clock. On PostgreSQL several nodes may share it and use the
server's clock, so that a node whose clock is wrong does not take messages in flight elsewhere.
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
from reportd.adapters.sql.fair_order import Turns
from reportd.adapters.sql.stores import queue_statements as sql
from reportd.adapters.sql.stores.clock import clock_or_database
from reportd.adapters.sql.text import storable
from reportd.concurrency.grace import with_grace
from reportd.concurrency.signal import Signal
from reportd.ports import ANY, Depth, Outgoing, ReceiptLostError, Received, UnavailableError

CLAIM_SECONDS = 2.0
"""How long a cancelled receive still waits for the messages that it claims."""

_POLL_SECONDS = 1.0
"""How often a waiting receive looks for messages of other nodes, and for the effect of a changed clock."""

MAX_MESSAGE_BYTES = 268435456
"""A quarter of the largest value in PostgreSQL, and of the largest row in SQLite."""


class EmbeddedQueue:
    """Implements ``ports.Queue``. ``dead`` gets messages that were received ``max_receive_count`` times.

    Sending is durable. A power cut may undo a receive, release or delete; then the message is received once more.
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
        self._now = clock_or_database(clock)
        self._turns = Turns()
        self._changed = Signal()

    async def recover(self) -> None:
        """Continue with the turns in the database.

        On SQLite also release the messages in flight: one daemon owns the file, so their holder is dead.
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
        except Exception as error:  # noqa: BLE001 - becomes the outcome of the message that can't be stored
            return [error] if len(messages) == 1 else await self._send_each(messages)
        self._changed.notify()
        return [None] * len(messages)

    async def _send_each(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        """Send one by one, so that only the message that can't be stored fails."""
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
            # With grace: claimed messages must reach the caller, or they stay invisible until the timeout.
            received, due_seconds = await with_grace(partial(self._claim, limit, at_most), CLAIM_SECONDS)
            remaining = deadline - trio.current_time()
            if received or remaining <= 0:
                return received
            with trio.move_on_after(min(remaining, due_seconds, _POLL_SECONDS)):
                await changed.wait()

    async def _claim(self, limit: int, at_most: Mapping[str, int]) -> tuple[list[Received], float]:
        """Claim messages. Return them, and the seconds until the next message is due."""

        def change(connection: Connection) -> tuple[list[tuple[str, Row[Any]]], bool, float]:
            now = self._now(connection)
            until = now + self.visibility_seconds
            remaining = dict(at_most)
            claimed: list[tuple[str, Row[Any]]] = []
            redriven = False
            while more := limit - len(claimed):
                values = {"name": self._name, "now": now, "limit": more}
                if skip := [report_type for report_type, allowed in remaining.items() if allowed <= 0]:
                    rows = connection.execute(sql.VISIBLE_BUT, values | {"skip": skip}).all()
                else:
                    rows = connection.execute(sql.VISIBLE, values).all()
                if spent := [row for row in rows if self._is_spent(row)]:
                    self._redrive(connection, spent, now)
                    redriven = True
                fresh = [
                    (secrets.token_hex(16), row) for row in rows if not self._is_spent(row) and _admit(row, remaining)
                ]
                if fresh:
                    entries = [{"message": row.id, "token": token, "until": until} for token, row in fresh]
                    connection.execute(sql.CLAIM, entries)
                    claimed += fresh
                # Rows that were moved or not allowed may hide others behind them: look again.
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
        assert self._dead is not None  # noqa: S101 - see ``_is_spent``
        reason = {"kind": "exhausted_receives", "reason": f"received {self.max_receive_count} times in vain"}
        moves = [
            {
                "message": row.id,
                "dead": self._dead._name,  # noqa: SLF001 - of this class
                "now": now,
                "told": orjson.dumps(orjson.loads(row.attributes) | reason).decode(),
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
        by_seconds: dict[float, list[str]] = defaultdict(list)
        for receipt, seconds in changes:
            by_seconds[seconds].append(receipt)

        def change(connection: Connection) -> set[str]:
            now = self._now(connection)
            held: set[str] = set()
            for seconds, receipts in by_seconds.items():
                values = {"name": self._name, "now": now, "until": now + seconds, "receipts": receipts}
                held.update(connection.execute(sql.EXTEND, values).scalars())
            return held

        if not changes:
            return []
        held = await self._database.write(change, durably=False)
        if min(by_seconds) < self.visibility_seconds:
            self._changed.notify()
        return [None if receipt in held else ReceiptLostError(receipt) for receipt, _ in changes]

    async def depth(self) -> Depth:
        def query(connection: Connection) -> Depth:
            values = {"name": self._name, "now": self._now(connection)}
            total, waiting, held, oldest = connection.execute(sql.DEPTH, values).one()
            return Depth(total - waiting, held, waiting - held, oldest)

        return await self._database.read(query)


def _admit(row: Row[Any], remaining: dict[str, int]) -> bool:
    """Count a message against the limit of its report type. Return whether it is within."""
    allowed = remaining.get(row.report_type)
    if allowed is None:
        return True
    remaining[row.report_type] = allowed - 1
    return allowed > 0


def _received(receipt: str, row: Row[Any]) -> Received:
    return Received(receipt, row.body, row.receive_count + 1, row.sent_at, orjson.loads(row.attributes))
