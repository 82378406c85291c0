"""What is wrong with a database, before the daemon needs it and while it is in trouble: each with what to do."""

import secrets
from functools import partial
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, delete, insert, text

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.migrate import scripts
from reportd.adapters.sql.schema import cluster, metadata
from reportd.ports import UnavailableError

PROBE_CHARACTERS = 32768
"""SQLite has room for a small write in its log even when the disk is full."""

_RIGHTS = text("""
    SELECT name, "right" FROM unnest(CAST(:tables AS text[])) name,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) "right"
    WHERE NOT coalesce(has_table_privilege(to_regclass(name), "right"), true)
    ORDER BY name, "right"
""")
_MISSING = text("""
    SELECT name FROM unnest(CAST(:tables AS text[])) name WHERE to_regclass(name) IS NULL ORDER BY name
""")
_MAY_CREATE = text("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
_READ_ONLY = text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean")


async def check(database: Database) -> list[str]:
    """Its schema, what may be done with each table, and a write that is taken back. Raises UnavailableError."""

    def look(connection: Connection) -> list[str]:
        return _pooled(connection) or _looked(connection)

    return await database.attempt(look)


async def probe(database: Database) -> None:
    """The same while the daemon runs, with a write that stays a moment. Raises UnavailableError."""
    # Newer nodes may have changed the schema meanwhile, and leave to this one what it needs.
    problems = await database.attempt(partial(_looked, running=True))
    if problems:
        raise UnavailableError("database", "; ".join(problems))
    name = f"probe-{secrets.token_hex(8)}"

    def write(connection: Connection) -> None:
        connection.execute(insert(cluster), {"name": name, "value": secrets.token_hex(PROBE_CHARACTERS // 2)})

    def remove(connection: Connection) -> None:
        connection.execute(delete(cluster).where(cluster.c.name.startswith("probe-", autoescape=True)))

    await database.write(write)
    await database.write(remove)


def _looked(connection: Connection, *, running: bool = False) -> list[str]:
    postgresql = connection.dialect.name == "postgresql"
    if postgresql and connection.execute(_READ_ONLY).scalar_one():
        return ["it is read-only, a standby perhaps: point database.url at the primary"]
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        if postgresql and not connection.execute(_MAY_CREATE).scalar_one():
            return ["it is empty, and the role may not create tables: GRANT CREATE ON SCHEMA public TO the role"]
        return []
    known = scripts()
    if not running and current not in {script.revision for script in known.walk_revisions()}:
        return [f"it has schema {current}, which this version does not know: install a newer reportd"]
    if not running and current != known.get_current_head():
        return []  # the daemon brings it up to date when it starts
    problems = _faults_of_tables(connection) if postgresql else []
    if not problems:
        connection.execute(insert(cluster), {"name": f"check-{secrets.token_hex(8)}", "value": ""})
    return problems


def _faults_of_tables(connection: Connection) -> list[str]:
    tables = {"tables": sorted(metadata.tables)}
    if missing := list(connection.execute(_MISSING, tables).scalars()):
        return [f"tables are missing ({', '.join(missing)}): restore a backup"]
    lacking: dict[str, list[str]] = {}
    for name, right in connection.execute(_RIGHTS, tables):
        lacking.setdefault(name, []).append(right)
    role = connection.exec_driver_sql("SELECT current_user").scalar_one()
    return [f"GRANT {', '.join(rights)} ON {name} TO {role}: it lacks them" for name, rights in lacking.items()]


def _pooled(connection: Connection) -> list[str]:
    """A pooler tells a process number of its own."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "postgresql" or driver.prepare_threshold is None:
        return []
    if connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == driver.info.backend_pid:
        return []
    return ["a pooler stands before it, where statements can't be prepared: take prepare_threshold out of database.url"]
