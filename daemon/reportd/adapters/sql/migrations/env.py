"""Alembic's entry: always on the connection that ``migrate`` holds, in its transaction."""

from alembic import context

from reportd.adapters.sql.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
