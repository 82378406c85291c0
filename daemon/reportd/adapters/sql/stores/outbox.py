"""The outbox: an entry for each job end that needs a callback, written in the transaction that ends the job.

A claim sets a time until which the entry is not due, and a token that only the claimant knows.
"""

import secrets
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import UNTOLD, outbox
from reportd.adapters.sql.stores.clock import clock_or_database
from reportd.adapters.sql.text import storable
from reportd.core.jobs.job import Job
from reportd.core.pages.network import url_target
from reportd.ports import Callback, CallbackStatus, DeliveryOutcome, Record

_MAX_HOST = 255
_MAX_ERROR = 500

_columns = outbox.c
_allowed = _columns.host.not_in(bindparam("skip", expanding=True))

_ENTER = insert(outbox)
_NEXT = select(func.min(_columns.due_at)).where(UNTOLD, _allowed)
_DUE = (
    select(outbox)
    .where(UNTOLD, _allowed, _columns.due_at <= bindparam("at"))
    .order_by(_columns.due_at)
    .limit(bindparam("limit"))
    # SQLite has one writer at a time and no row locks, so there this adds nothing.
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(outbox)
    .where(_columns.id == bindparam("entry"))
    .values(claim=bindparam("token"), due_at=bindparam("until"), attempts=_columns.attempts + 1)
)
_claimed = (_columns.id == bindparam("entry")) & (_columns.claim == bindparam("token"))
_PUT_BACK = update(outbox).where(_claimed).values(claim=None, due_at=bindparam("until"), error=bindparam("reason"))
# The body may be large, and is not needed any more.
_END = (
    update(outbox).where(_claimed).values(claim=None, outcome=bindparam("result"), error=bindparam("reason"), body="")
)
_FREE = update(outbox).where(UNTOLD, _columns.claim.is_not(None)).values(claim=None, due_at=bindparam("at"))
_LATEST = (
    select(_columns.outcome, _columns.attempts, _columns.due_at, _columns.claim, _columns.error)
    .where(_columns.task_id == bindparam("task"))
    .order_by(_columns.created_at.desc())
    .limit(1)
)


class SqlOutbox:
    """Implements ``ports.Outbox``. The job store enters the ends of jobs.

    ``defaults``: the callback URL of a report type whose job has none. ``compose`` makes the body, inside a
    transaction.
    """

    def __init__(
        self,
        database: Database,
        compose: Callable[[Record], bytes],
        defaults: Mapping[str, str] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database = database
        self._compose = compose
        self._defaults = defaults or {}
        self._now = clock_or_database(clock)
        self._listener: Callable[[], None] = lambda: None

    def reconfigure(self, urls: Mapping[str, str]) -> None:
        """Replace ``defaults``."""
        self._defaults = urls

    async def recover(self) -> None:
        """On SQLite, release every claim at the start: only this daemon uses the file, so each claim is left from an
        earlier run. Otherwise do nothing.
        """
        if self._database.is_sqlite:
            await self._database.write(lambda c: c.execute(_FREE, {"at": self._now(c)}).rowcount)

    def url_for(self, report_type: str, callback_url: str | None) -> str | None:
        return callback_url or self._defaults.get(report_type) or None

    def enter(self, connection: Connection, record: Record, url: str, at: float) -> None:
        """Add an entry for a job that ends in this transaction."""
        connection.execute(
            _ENTER,
            {
                "id": str(uuid.uuid4()),
                "task_id": record.job.task_id,
                "host": _host(url),
                "created_at": at,
                "due_at": self._now(connection),
                "url": url,
                "body": self._compose(record).decode(),
            },
        )

    def entered(self) -> None:
        """Call the listener; the transaction with new entries is committed."""
        self._listener()

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listener = listener

    async def claim(
        self, limit: int, lease_seconds: float, skip: Collection[str] = ()
    ) -> tuple[list[Callback], float | None]:
        hosts = list(skip)

        def query(connection: Connection) -> float | None:
            due_at = connection.execute(_NEXT, {"skip": hosts}).scalar()
            return None if due_at is None else max(0.0, due_at - self._now(connection))

        def change(connection: Connection) -> list[Callback]:
            at = self._now(connection)
            rows = connection.execute(_DUE, {"skip": hosts, "at": at, "limit": limit}).all()
            claims = [{"entry": row.id, "token": secrets.token_hex(16), "until": at + lease_seconds} for row in rows]
            if claims:
                connection.execute(_CLAIM, claims)
            return [_callback(row, str(claim["token"])) for row, claim in zip(rows, claims, strict=True)]

        # Mostly there is nothing to do; a read shows that without waiting for the writer.
        seconds = await self._database.read(query)
        return (await self._database.write(change), seconds) if seconds == 0.0 else ([], seconds)

    async def settle(
        self, callback: Callback, outcome: DeliveryOutcome | None, error: str, delay_seconds: float = 0.0
    ) -> bool:
        values = {"entry": callback.callback_id, "token": callback.token, "reason": storable(error[:_MAX_ERROR])}

        def change(connection: Connection) -> bool:
            if outcome is not None:
                return bool(connection.execute(_END, values | {"result": outcome}).rowcount)
            until = self._now(connection) + delay_seconds
            return bool(connection.execute(_PUT_BACK, values | {"until": until}).rowcount)

        return await self._database.write(change)

    async def status(self, job: Job) -> CallbackStatus | None:
        if self.url_for(job.report_type, job.callback_url) is None:
            return None

        def query(connection: Connection) -> Sequence[Any] | None:
            return connection.execute(_LATEST, {"task": job.task_id}).one_or_none()

        row = await self._database.read(query)
        if row is None:
            return None
        outcome, attempts, due_at, claim, error = row
        pending = outcome is None and claim is None
        return CallbackStatus(outcome and DeliveryOutcome(outcome), attempts, due_at if pending else None, error)


def _host(url: str) -> str:
    """Return host and port, which group callbacks by receiver; empty for an invalid URL, which the sender refuses."""
    try:
        host, port = url_target(url)
    except ValueError:
        return ""
    return f"{host[: _MAX_HOST - 6]}:{port}"


def _callback(row: Row[Any], token: str) -> Callback:
    return Callback(
        callback_id=row.id,
        task_id=row.task_id,
        url=row.url,
        host=row.host,
        body=row.body.encode(),
        attempts=row.attempts + 1,
        created_at=row.created_at,
        token=token,
        error=row.error,
    )
