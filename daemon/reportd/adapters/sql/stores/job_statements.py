"""The statements of the job store, built once."""

from sqlalchemy import bindparam, case, delete, func, insert, literal, null, select, update

from reportd.adapters.sql.schema import attempts, jobs, leases
from reportd.adapters.sql.stores.clock import CLOCK
from reportd.core.jobs.transitions import JobState

_this = jobs.c.task_id == bindparam("task")
_listed = jobs.c.task_id.in_(bindparam("ids", expanding=True))
_open = (attempts.c.task_id == bindparam("task")) & attempts.c.outcome.is_(None)

ONE = select(jobs).where(_this)
# SQLite has one writer at a time and no row locks, so there this is the same statement.
ONE_LOCKED = ONE.with_for_update()
LISTED = select(jobs).where(_listed)
# Without the parameters: each job of a list may have a megabyte of them. Without the options: they lie behind them.
_unlisted = (jobs.c.parameters, jobs.c.options)
SEARCHED = select(
    *(column for column in jobs.c if all(column is not other for other in _unlisted)),
    literal("{}").label("parameters"),
    null().label("options"),
)
LATER = CLOCK + bindparam("away")
CHANGE = update(jobs).where(_this).values(due_at=LATER)
# A locked row is being started or settled now, which sets its due time anyway: skip it.
FREE = select(jobs.c.task_id).where(_listed).with_for_update(skip_locked=True)
UNCONFIRMED = FREE.where(jobs.c.confirmed.is_(other=False) | (jobs.c.due_at < CLOCK))
# A job deferred meanwhile keeps its later due time.
CONFIRM = (
    update(jobs)
    .where(jobs.c.task_id.in_(UNCONFIRMED))
    .values(confirmed=True, due_at=case((jobs.c.due_at < LATER, LATER), else_=jobs.c.due_at))
)
under_way = jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING))
RENEW = update(jobs).where(jobs.c.task_id.in_(FREE.where(under_way))).values(due_at=LATER)
PROGRESS = update(jobs).where(_this, jobs.c.state == JobState.RUNNING).values(progress=bindparam("done"))
DISCARD = delete(jobs).where(
    _listed, jobs.c.state == JobState.QUEUED, jobs.c.confirmed.is_(other=False), jobs.c.started_at.is_(None)
)
PURGE = update(jobs).where(_listed).values(pdf_purged=True)

_waits = jobs.c.state == JobState.QUEUED
LOADS = (
    select(
        jobs.c.report_type,
        func.count(case((_waits, 1))).label("waiting"),
        func.count(case((_waits & (jobs.c.attempts == 0), 1))).label("untried"),
        func.count(case((~_waits, 1))).label("running"),
        func.min(case((_waits, jobs.c.submitted_at))).label("oldest_at"),
    )
    .where(jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)))
    .group_by(jobs.c.report_type)
)

SENT = select(func.count()).where(under_way, jobs.c.confirmed)
WAITING = (
    select(jobs.c.report_type, jobs.c.user_id, func.count()).where(_waits).group_by(jobs.c.report_type, jobs.c.user_id)
)

LEAD = (
    update(leases)
    .where(
        leases.c.work == bindparam("name"), (leases.c.node == bindparam("owner")) | (leases.c.until <= bindparam("at"))
    )
    .values(node=bindparam("owner"), until=bindparam("then"))
)

ATTEMPTS = select(attempts).where(attempts.c.task_id == bindparam("task")).order_by(attempts.c.id)
NEW_ATTEMPT = insert(attempts).returning(attempts.c.id)
_is_settled = attempts.c.id == bindparam("attempt")
CLOSE_ALL = (
    update(attempts)
    .where(_open)
    .values(
        finished_at=bindparam("at"),
        outcome=case((_is_settled, bindparam("result")), else_=bindparam("other")),
        detail=case((_is_settled, bindparam("text")), else_=""),
    )
)
CLOSE_OWN = CLOSE_ALL.where(_is_settled)
