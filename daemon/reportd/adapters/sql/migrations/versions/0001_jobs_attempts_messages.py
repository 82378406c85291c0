"""Jobs, their attempts, the embedded queue's messages, the audit record, and who does what one node does for all."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("report_type", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        _count("attempts"),
        _count("deferrals"),
        _count("losses"),
        _count("node_losses"),
        _count("unharmed"),
        sa.Column("submitted_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("confirmed", sa.Boolean, nullable=False),
        sa.Column("error_kind", sa.String(32)),
        sa.Column("pdf_bytes", sa.BigInteger),
        sa.Column("pdf_sha256", sa.String(64)),
        sa.Column("pdf_purged", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("error_detail", sa.Text),
        sa.Column("callback_url", sa.Text),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task_id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_newest", "jobs", ["submitted_at", "task_id"])
    op.create_index("ix_jobs_state", "jobs", ["state", "submitted_at"])
    op.create_index("ix_jobs_user", "jobs", ["user_id", "submitted_at"])
    op.create_index("ix_jobs_type", "jobs", ["report_type", "submitted_at"])
    stored = sa.text("pdf_bytes IS NOT NULL AND NOT pdf_purged")
    op.create_index("ix_jobs_stored", "jobs", ["finished_at"], sqlite_where=stored, postgresql_where=stored)
    op.create_table(
        "attempts",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("finished_at", sa.Double),
        sa.Column("outcome", sa.String(32)),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.ForeignKeyConstraint(["task_id"], ["jobs.task_id"], name="fk_attempts_task_id", ondelete="CASCADE"),
    )
    op.create_index("ix_task_id", "attempts", ["task_id"])
    op.create_table(
        "leases",
        sa.Column("work", sa.String(64), nullable=False),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("work", name="pk_leases"),
    )
    op.create_table(
        "audit",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_newest", "audit", ["at", "subject", "action", "actor"], unique=True)
    op.create_index("ix_audit_subject", "audit", ["subject", "at"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )
    op.create_table(
        "nodes",
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("node", name="pk_nodes"),
    )
    op.create_table(
        "messages",
        sa.Column("id", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("report_type", sa.String(64), nullable=False),
        sa.Column("grouping", sa.String(64), nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
        sa.Column("visible_at", sa.Double, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        _count("receive_count"),
        sa.Column("receipt", sa.String(32)),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    op.create_index("ix_messages_turn", "messages", ["queue", "turn", "id", "visible_at", "report_type"])
    op.create_index("ix_messages_visible", "messages", ["queue", "visible_at"])
    held = sa.text("receipt IS NOT NULL")
    op.create_index("ix_messages_receipt", "messages", ["receipt"], sqlite_where=held, postgresql_where=held)
