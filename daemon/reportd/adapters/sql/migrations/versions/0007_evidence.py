"""What there was to see of failed attempts, for report types that want it kept."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("taken_at", sa.Double, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("screenshot", sa.LargeBinary),
        sa.PrimaryKeyConstraint("task_id", "attempt", name="pk_evidence"),
        sa.ForeignKeyConstraint(["task_id"], ["jobs.task_id"], name="fk_evidence_task_id", ondelete="CASCADE"),
    )
    op.create_index("ix_evidence_taken_at", "evidence", ["taken_at"])
