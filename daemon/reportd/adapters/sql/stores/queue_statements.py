"""The statements of the embedded queue, built once."""

from sqlalchemy import bindparam, case, delete, func, insert, select, update

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
    # SQLite has one writer at a time and no row locks, so there this adds nothing.
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
