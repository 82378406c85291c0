"""The embedded queue's statements, built once: what a message's life is made of."""

import time
from typing import Any

from sqlalchemy import Connection, Double, bindparam, case, cast, delete, extract, func, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from reportd.adapters.sql.schema import messages

_columns = messages.c
_mine = _columns.queue == bindparam("name")
_listed = _columns.receipt.in_(bindparam("receipts", expanding=True))
_waits = _columns.visible_at > bindparam("now")
_this = _columns.id == bindparam("message")

INSERT = insert(messages)

VISIBLE = (
    select(messages)
    .where(_mine, _columns.visible_at <= bindparam("now"))
    .order_by(_columns.turn, _columns.id)
    .limit(bindparam("limit"))
    # SQLite has one writer at a time and knows no row locks; there this adds nothing.
    .with_for_update(skip_locked=True)
)
VISIBLE_BUT = VISIBLE.where(_columns.report_type.not_in(bindparam("skip", expanding=True)))

CLAIM = (
    update(messages)
    .where(_this)
    .values(receipt=bindparam("token"), visible_at=bindparam("until"), receive_count=_columns.receive_count + 1)
)
DUE = select(func.min(_columns.visible_at)).where(_mine, _waits)

REDRIVE = (
    update(messages)
    .where(_this)
    .values(
        queue=bindparam("dead"),
        visible_at=bindparam("now"),
        receipt=None,
        receive_count=0,
        attributes=bindparam("told"),
    )
)
DELETE = delete(messages).where(_listed, _mine)
EXTEND = (
    update(messages).where(_listed, _mine, _waits).values(visible_at=bindparam("until")).returning(_columns.receipt)
)

DEPTH = select(
    func.count(),
    func.count(case((_waits, 1))),
    func.count(case((_waits & _columns.receipt.is_not(None), 1))),
    func.min(case((~_waits, _columns.sent_at))),
).where(_mine)

RELEASE = (
    update(messages)
    .where(_mine, _waits, _columns.receipt.is_not(None))
    .values(visible_at=bindparam("now"), receipt=None)
)
TURNS = (
    select(_columns.grouping, func.min(_columns.turn).label("first"), func.max(_columns.turn).label("last"))
    .where(_mine)
    .group_by(_columns.grouping)
)


class _Clock(FunctionElement[float]):
    """The time within a statement, by the clock of ``now``."""

    type = Double()
    inherit_cache = True


@compiles(_Clock)
def _on_server(_element: _Clock, _compiler: Any, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(_Clock, "sqlite")
def _on_sqlite(_element: _Clock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


CLOCK = _Clock()

_SERVER_TIME = select(cast(extract("epoch", func.clock_timestamp()), Double))


def now(connection: Connection) -> float:
    """By the clock that everybody who uses this database shares."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(_SERVER_TIME).scalar_one())
