"""Adds ``jobs.warnings``: what is missing from a job's PDF, as JSON. Present jobs have none."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("warnings", sa.Text))
