"""Secrets that the nodes generate and share. They survive restarts, and nobody has to configure them."""

from secrets import token_hex

from reportd.adapters.sql.database import Database
from reportd.adapters.sql.schema import secrets
from reportd.adapters.sql.stores.cluster import set_once


async def shared_secret(database: Database, name: str) -> bytes:
    """Return 256 bits that are the same on all nodes; the first node makes them. Raises UnavailableError."""
    return bytes.fromhex(await set_once(database, secrets, name, token_hex(32)))
