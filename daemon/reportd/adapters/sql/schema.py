"""The tables. Plain types that SQLite and PostgreSQL both have; times are seconds since the epoch."""

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def _count(name: str) -> "Column[int]":
    return Column(name, Integer, nullable=False, default=0, server_default="0")


jobs = Table(
    "jobs",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("report_type", String(64), nullable=False),
    Column("user_id", String(36), nullable=False),
    Column("parameters", Text, nullable=False),
    Column("callback_url", Text),
    Column("state", String(16), nullable=False),
    _count("attempts"),
    _count("deferrals"),
    _count("losses"),
    _count("node_losses"),
    _count("unharmed"),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("confirmed", Boolean, nullable=False),
    Column("error_kind", String(32)),
    Column("error_detail", Text),
    Column("pdf_bytes", Integer),
    Column("pdf_sha256", String(64)),
    Column("pdf_purged", Boolean, nullable=False, default=False, server_default=false()),
    Index("ix_jobs_newest", "submitted_at", "task_id"),
    Index("ix_jobs_state", "state", "submitted_at"),
    Index("ix_jobs_user", "user_id", "submitted_at"),
    Index("ix_jobs_type", "report_type", "submitted_at"),
    Index("ix_jobs_finished", "finished_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("task_id", String(36), ForeignKey("jobs.task_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("node", String(255), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("outcome", String(32)),
    Column("detail", Text, nullable=False, default="", server_default=""),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("report_type", String(64), nullable=False),
    Column("grouping", String(64), nullable=False),
    Column("turn", Integer, nullable=False),
    Column("visible_at", Double, nullable=False),
    Column("sent_at", Double, nullable=False),
    _count("receive_count"),
    Column("receipt", String(32)),
    Column("attributes", Text, nullable=False),
    # Receiving walks along this one and needs the row itself only for what it takes.
    Index("ix_messages_turn", "queue", "turn", "id", "visible_at", "report_type"),
    Index("ix_messages_group", "queue", "grouping", "turn"),
    Index("ix_messages_visible", "queue", "visible_at"),
    Index("ix_messages_receipt", "receipt"),
)
