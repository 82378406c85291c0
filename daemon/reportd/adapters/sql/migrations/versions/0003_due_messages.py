"""When news of a job's message is due."""

import sqlalchemy as sa
from alembic import op

from reportd.adapters.sql.stores.messages import CLOCK

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OLD_SECONDS = 600.0
"""What waits already may be put off for the longest rest of a breaker, and is held for a visibility after that."""


def upgrade() -> None:
    # The default is for nodes of an older version that go on for a while: what they write counts as due, and is sent
    # again only if the queue holds fewer messages than there are jobs.
    op.add_column("jobs", sa.Column("due_at", sa.Double, nullable=False, server_default="0"))
    jobs = sa.table("jobs", sa.column("state", sa.String), sa.column("due_at", sa.Double))
    under_way = jobs.c.state.in_(["queued", "running", "dead_lettered"])
    op.execute(jobs.update().where(under_way).values(due_at=CLOCK + OLD_SECONDS))
