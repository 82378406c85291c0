"""Checks a database at start and while it fails. Each problem comes with what to do about it."""

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
"""Size of a test write. SQLite has room for a small write in its log even when the disk is full."""

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
    """Check schema, privileges and a write that is rolled back. Return the problems. Raises UnavailableError."""

    def inspect(connection: Connection) -> list[str]:
        return _pooler_problems(connection) or _problems(connection)

    return await database.attempt(inspect)


async def probe(database: Database) -> None:
    """Check the same while the daemon runs, with a committed write. Raises UnavailableError."""
    # Newer nodes may have migrated the schema meanwhile. They keep what this node needs.
    problems = await database.attempt(partial(_problems, running=True))
    if problems:
        raise UnavailableError("database", "; ".join(problems))
    name = f"probe-{secrets.token_hex(8)}"

    def write(connection: Connection) -> None:
        connection.execute(insert(cluster), {"name": name, "value": secrets.token_hex(PROBE_CHARACTERS // 2)})

    def remove(connection: Connection) -> None:
        connection.execute(delete(cluster).where(cluster.c.name.startswith("probe-", autoescape=True)))

    await database.write(write)
    await database.write(remove)


def _problems(connection: Connection, *, running: bool = False) -> list[str]:
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
        return []  # the daemon migrates it at start
    problems = _table_problems(connection) if postgresql else []
    if not problems:
        connection.execute(insert(cluster), {"name": f"check-{secrets.token_hex(8)}", "value": ""})
    return problems


def _table_problems(connection: Connection) -> list[str]:
    tables = {"tables": sorted(metadata.tables)}
    if missing := list(connection.execute(_MISSING, tables).scalars()):
        return [f"tables are missing ({', '.join(missing)}): restore a backup"]
    lacking: dict[str, list[str]] = {}
    for name, right in connection.execute(_RIGHTS, tables):
        lacking.setdefault(name, []).append(right)
    role = connection.exec_driver_sql("SELECT current_user").scalar_one()
    return [f"GRANT {', '.join(rights)} ON {name} TO {role}: it lacks them" for name, rights in lacking.items()]


def _pooler_problems(connection: Connection) -> list[str]:
    """Report a pooler: the process number in its handshake is not that of the server process."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "postgresql" or driver.prepare_threshold is None:
        return []
    if connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == driver.info.backend_pid:
        return []
    return ["a pooler stands before it, where statements can't be prepared: take prepare_threshold out of database.url"]
