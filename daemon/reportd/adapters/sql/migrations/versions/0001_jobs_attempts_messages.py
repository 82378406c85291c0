"""The first schema: jobs with attempts and callbacks, dead letters, messages, the audit log."""

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
        "alerts",
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("signature", sa.String(255), nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("report_type", sa.String(64), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("untold", sa.BigInteger, nullable=False),
        sa.Column("untold_since", sa.Double, nullable=False),
        sa.Column("told_at", sa.Double),
        sa.Column("announced", sa.Boolean, nullable=False),
        sa.Column("over", sa.Boolean, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.Double, nullable=False),
        sa.Column("teller", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("channel", "signature", name="pk_alerts"),
    )
    op.create_index("ix_alerts_due", "alerts", ["channel", "due_at"])
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("task_id", sa.String(36)),
        sa.Column("signature", sa.String(18), nullable=False),
        sa.Column("report_type", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        _count("redrives"),
        _count("returns"),
        sa.Column("first_seen_at", sa.Double, nullable=False),
        sa.Column("last_seen_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("released_at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("attributes", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dead_letters"),
    )
    op.create_index("ix_dead_letters_signature", "dead_letters", ["signature", "last_seen_at", "id"])
    op.create_index("ix_dead_letters_standing", "dead_letters", ["standing", "signature", "report_type", "due_at"])
    op.create_table(
        "causes",
        sa.Column("signature", sa.String(18), nullable=False),
        sa.Column("report_type", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("failed_at", sa.Double, nullable=False),
        sa.Column("passed_at", sa.Double, nullable=False),
        _count("size"),
        _count("failures"),
        sa.Column("wave", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("signature", "report_type", name="pk_causes"),
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
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("task_id", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        _count("attempts"),
        sa.Column("claim", sa.String(32)),
        sa.Column("outcome", sa.String(16)),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.ForeignKeyConstraint(["task_id"], ["jobs.task_id"], name="fk_outbox_task_id", ondelete="CASCADE"),
    )
    op.create_index("ix_outbox_task", "outbox", ["task_id", "created_at"])
    untold = sa.text("outcome IS NULL")
    op.create_index("ix_outbox_due", "outbox", ["due_at", "host"], sqlite_where=untold, postgresql_where=untold)
