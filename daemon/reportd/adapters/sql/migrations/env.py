"""Alembic's entry point. It runs in the transaction of ``migrate``, on its connection."""

from alembic import context

from reportd.adapters.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
