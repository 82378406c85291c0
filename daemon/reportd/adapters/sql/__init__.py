"""SQLite and PostgreSQL: the database itself, its schema and migrations, and the stores. ``app`` opens them."""
