"""Adds ``jobs.due_at``: the time by which a node must report that the job's message still exists."""

import sqlalchemy as sa
from alembic import op

from reportd.adapters.sql.stores.clock import CLOCK

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD_SECONDS = 600.0
"""For present jobs: a message may be deferred for a breaker's longest recovery, and then be in flight."""


def upgrade() -> None:
    # The default is for older nodes that still run for a while: their rows count as due. They are sent again only if
    # the queue holds fewer messages than there are jobs.
    op.add_column("jobs", sa.Column("due_at", sa.Double, nullable=False, server_default="0"))
    jobs = sa.table("jobs", sa.column("state", sa.String), sa.column("due_at", sa.Double))
    under_way = jobs.c.state.in_(["queued", "running", "dead_lettered"])
    op.execute(jobs.update().where(under_way).values(due_at=CLOCK + OLD_SECONDS))
