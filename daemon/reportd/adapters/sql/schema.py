"""The tables, with plain types that SQLite and PostgreSQL both have. Times are seconds since the epoch.

Wide columns come last, so that SQLite reads the others without walking through them.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# 32 bits last 25 days at a thousand a second. SQLite auto-increments only a plain INTEGER, which has 64 bits.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def _count(name: str) -> "Column[int]":
    return Column(name, Integer, nullable=False, server_default="0")


STORED = text("pdf_bytes IS NOT NULL AND NOT pdf_purged")
"""The store has a PDF. Queries must repeat this exact text, or SQLite does not use the partial index."""

_HELD = text("receipt IS NOT NULL")

UNTOLD = text("outcome IS NULL")
"""A callback that is not delivered yet; repeat the exact text, as for ``STORED``."""

jobs = Table(
    "jobs",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("report_type", String(64), nullable=False),
    Column("user_id", String(36), nullable=False),
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
    # Not indexed, so that a renewal writes only the row.
    Column("due_at", Double, nullable=False, server_default="0"),
    Column("error_kind", String(32)),
    Column("pdf_bytes", BigInteger),
    Column("pdf_sha256", String(64)),
    Column("pdf_purged", Boolean, nullable=False, server_default=false()),
    Column("error_detail", Text),
    Column("callback_url", Text),
    # JSON; NULL without any.
    Column("options", Text),
    # JSON; NULL without any.
    Column("warnings", Text),
    # Of the running attempt, from 0 to 1, once its page has said it.
    Column("progress", Double),
    # The hash of the files of its template that printed it.
    Column("edition", String(16)),
    Column("parameters", Text, nullable=False),
    Index("ix_jobs_newest", "submitted_at", "task_id"),
    Index("ix_jobs_state", "state", "submitted_at"),
    Index("ix_jobs_user", "user_id", "submitted_at"),
    Index("ix_jobs_type", "report_type", "submitted_at"),
    # Covers only jobs with a PDF, so that retention does not scan years of others.
    Index("ix_jobs_stored", "finished_at", sqlite_where=STORED, postgresql_where=STORED),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("task_id", String(36), ForeignKey("jobs.task_id", ondelete="CASCADE"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("node", String(255), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("outcome", String(32)),
    Column("detail", Text, nullable=False, server_default=""),
)

evidence = Table(
    "evidence",
    metadata,
    Column("task_id", String(36), ForeignKey("jobs.task_id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("taken_at", Double, nullable=False),
    # JSON: what is text.
    Column("content", Text, nullable=False),
    Column("screenshot", LargeBinary),
    Index("ix_evidence_taken_at", "taken_at"),
)

leases = Table(
    "leases",
    metadata,
    Column("work", String(64), primary_key=True),
    Column("node", String(255), nullable=False),
    Column("until", Double, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", String(255), nullable=False),
    Column("action", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("detail", Text, nullable=False),
    # Equal values mean the same action, written again because the first answer was lost.
    Index("ix_audit_newest", "at", "subject", "action", "actor", unique=True),
    Index("ix_audit_subject", "subject", "at"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", String(64), nullable=False),
)

cluster = Table(
    "cluster",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("token", String(255), primary_key=True),
    Column("session", String(32), primary_key=True),
    Column("at", Double, nullable=False),
    Column("until", Double, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("node", String(255), primary_key=True),
    Column("seen_at", Double, nullable=False),
    Column("told", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("channel", String(16), primary_key=True),
    Column("signature", String(255), primary_key=True),
    Column("due_at", Double, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("report_type", String(64), nullable=False),
    Column("since", Double, nullable=False),
    Column("last_at", Double, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("untold", BigInteger, nullable=False),
    Column("untold_since", Double, nullable=False),
    Column("told_at", Double),
    Column("announced", Boolean, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retry_at", Double, nullable=False),
    Column("teller", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_alerts_due", "channel", "due_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", _NUMBER, Identity(), primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("report_type", String(64), nullable=False),
    Column("grouping", String(64), nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("visible_at", Double, nullable=False),
    Column("sent_at", Double, nullable=False),
    _count("receive_count"),
    Column("receipt", String(32)),
    Column("attributes", Text, nullable=False),
    Column("body", Text, nullable=False),
    # A receive scans this index, and reads a row only to take it.
    Index("ix_messages_turn", "queue", "turn", "id", "visible_at", "report_type"),
    Index("ix_messages_visible", "queue", "visible_at"),
    Index("ix_messages_receipt", "receipt", sqlite_where=_HELD, postgresql_where=_HELD),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("task_id", String(36), ForeignKey("jobs.task_id", ondelete="CASCADE"), nullable=False),
    Column("host", String(255), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    _count("attempts"),
    Column("claim", String(32)),
    Column("outcome", String(16)),
    Column("error", Text, nullable=False, server_default=""),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_outbox_task", "task_id", "created_at"),
    # Covers only pending callbacks, so that years of delivered ones are not scanned.
    Index("ix_outbox_due", "due_at", "host", sqlite_where=UNTOLD, postgresql_where=UNTOLD),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("task_id", String(36)),
    Column("signature", String(18), nullable=False),
    Column("report_type", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("standing", String(16), nullable=False),
    _count("redrives"),
    _count("returns"),
    Column("first_seen_at", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("released_at", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_dead_letters_signature", "signature", "last_seen_at", "id"),
    Index("ix_dead_letters_standing", "standing", "signature", "report_type", "due_at"),
)

causes = Table(
    "causes",
    metadata,
    Column("signature", String(18), primary_key=True),
    Column("report_type", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("sent_at", Double, nullable=False),
    Column("failed_at", Double, nullable=False),
    Column("passed_at", Double, nullable=False),
    _count("size"),
    _count("failures"),
    Column("wave", Text, nullable=False),
)
