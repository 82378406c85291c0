"""The ports of the database, a module each."""
