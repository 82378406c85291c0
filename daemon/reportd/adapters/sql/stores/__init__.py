"""The ports of the database, one module each. ``app`` makes them."""
