"""Migrates the database to this version's schema when the daemon starts."""

from pathlib import Path

import trio
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from reportd.adapters.sql.database import Database

_LOCK = 0x7265706F7274  # "report": only one node at a time migrates


class NewerSchemaError(Exception):
    """The database was made by a newer version of reportd."""


async def migrate(database: Database) -> None:
    """Migrate to this version's schema. Raises NewerSchemaError, or UnavailableError."""
    await trio.to_thread.run_sync(database.with_writer, _upgrade, abandon_on_cancel=True)


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        # Wait for another node's migration without a limit. A transaction's lock: the session may be a pooler's.
        usual = connection.execute(text("SHOW lock_timeout")).scalar_one()
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        connection.execute(text("SELECT set_config('lock_timeout', :usual, true)"), {"usual": usual})
    config = _config()
    versions = scripts()
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in versions.walk_revisions()}
    if current is not None and current not in known:
        raise NewerSchemaError(
            f"the database has schema {current}, which this version does not know: install a newer reportd"
        )
    if current != versions.get_current_head():
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def scripts() -> ScriptDirectory:
    """Return this version's migrations."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
