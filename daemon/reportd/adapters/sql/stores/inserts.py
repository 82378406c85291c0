"""Inserts with ON CONFLICT, which SQLite and PostgreSQL spell alike but SQLAlchemy offers per dialect."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

from reportd.adapters.sql.database import Database


def dialect_insert(database: Database, table: Table) -> Any:
    """Return the insert of the database's dialect."""
    dialect: Any = sqlite if database.is_sqlite else postgresql
    return dialect.insert(table)


def insert_missing(database: Database, table: Table) -> Any:
    """Return an insert that leaves existing rows as they are."""
    return dialect_insert(database, table).on_conflict_do_nothing()


def counted_insert(database: Database, table: Table) -> Any:
    """Return ``insert_missing`` with a ``rowcount`` of the inserted rows, which SQLAlchemy drops by default."""
    return insert_missing(database, table).execution_options(preserve_rowcount=True)
