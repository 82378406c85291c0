"""Tells whether a database error is the statement's fault, or a condition of the database that may pass.

A condition becomes a plain text with what to do about it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import exc

from reportd.ports import UnavailableError

_LOST_RACE = frozenset({"40001", "40P01", "55P03"})
"""Serialization failure, deadlock, lock not available: postgresql.org/docs/current/errcodes-appendix.html."""

_OLD_SESSION = "a pooler stands before it: take prepare_threshold and options out of database.url"
_CHANGED = "the tables of reportd were changed: undo it, or restore a backup (`reportd doctor` lists the differences)"
_RIGHTS = "grant its role SELECT, INSERT, UPDATE and DELETE on all tables (`reportd doctor` lists what it lacks)"
_AWAY = "it is stopped, starting or changing over; bring it back"
_BROKEN = "the server's disk or files are damaged: look at its log, restore a backup"

# By SQLSTATE: the full code first, then its class (the first two characters). They all are about the server, its
# configuration or changes made there, because every statement is tested and ``migrate`` made every table.
_POSTGRESQL: Mapping[str, str] = {
    "08": _AWAY,
    "0A000": _OLD_SESSION,
    "25": "it is tried again",
    "25006": "it is read-only, as after a fail-over: point database.url at the primary, "
    "or name all servers and add target_session_attrs=read-write",
    "26": _OLD_SESSION,
    "28": "check the role and the password in database.url, and pg_hba.conf",
    "3D": "check the name in database.url, or create the database",
    "3F": _CHANGED,
    "40": "other transactions were in the way; it is tried again",
    "42501": _RIGHTS,
    "42P01": _CHANGED,
    "42P05": _OLD_SESSION,
    "42703": _CHANGED,
    "42883": _CHANGED,
    "53": "the server has run out of something; make room",
    "53100": "the server's disk is full: make room on it",
    "53200": "the server is out of memory: give it more, or fewer connections",
    "53300": "raise max_connections on the server, or put a pooler before it",
    "55": "a row or table is locked, or the server is not ready: pg_stat_activity shows by whom",
    "57": _AWAY,
    "57014": "a statement_timeout of the role or the server cut it off: raise it to 6 s or more",
    "58": _BROKEN,
    "F0": _BROKEN,
    "XX": _BROKEN,
}

# Errors of the server or a pooler during connection have no SQLSTATE.
_CONNECTING: Mapping[str, str] = {
    "unsupported startup parameter": _OLD_SESSION,
    "statement pooling mode": "set pool_mode = transaction in PgBouncer",
    "invalid connection option": "check what follows the question mark in database.url",
    "invalid URI query parameter": "check what follows the question mark in database.url",
    "password": _POSTGRESQL["28"],
    "pg_hba.conf": _POSTGRESQL["28"],
    "too many clients": _POSTGRESQL["53300"],
    "remaining connection slots": _POSTGRESQL["53300"],
}

# By primary result code (sqlite.org/rescode.html).
_SQLITE: Mapping[str, str] = {
    "SQLITE_BUSY": "another process keeps it locked: find it (`fuser` on the file) and end it",
    "SQLITE_CANTOPEN": "its folder must exist and be writable for the daemon's account",
    "SQLITE_CORRUPT": "the file is damaged: stop the daemon and restore a backup",
    "SQLITE_FULL": "make room on the disk",
    "SQLITE_IOERR": "the disk is full, at its quota, or broken: look at the system's log",
    "SQLITE_LOCKED": "another process keeps it locked: find it (`fuser` on the file) and end it",
    "SQLITE_NOMEM": "the machine is out of memory",
    "SQLITE_NOTADB": "the file is no SQLite database: set another database.url, or restore a backup",
    "SQLITE_PERM": "the daemon's account must be able to read and write the file and its folder",
    "SQLITE_READONLY": "the daemon's account must be able to write the file and its folder, "
    "and the file system must be mounted for writing",
}


class LostRaceError(UnavailableError):
    """A conflict with another node. ``waited``: whether the lock timeout has passed."""

    def __init__(self, detail: str, *, waited: bool) -> None:
        super().__init__("database", detail)
        self.waited = waited


def translate(error: Exception) -> Exception:
    """Return UnavailableError for a condition of the database; any other error unchanged."""
    if isinstance(error, OSError):  # from the driver's wait: for example, no file descriptor is left
        return UnavailableError("database", str(error))
    if not isinstance(error, exc.DBAPIError):
        return error
    sqlstate = getattr(error.orig, "sqlstate", None)
    detail = (str(error.orig).strip().splitlines() or ["no answer"])[0]
    remedy = _remedy(error.orig, sqlstate)
    if remedy:
        detail = f"{detail}: {remedy}"
    if sqlstate in _LOST_RACE:
        return LostRaceError(detail, waited=sqlstate == "55P03")
    # SQLAlchemy raises the bare DatabaseError for a file that is no database.
    condition = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
    if remedy or condition or error.connection_invalidated or type(error) is exc.DatabaseError:
        return UnavailableError("database", detail)
    return error


def _remedy(error: Any, sqlstate: str | None) -> str:
    if sqlstate is not None:
        return _POSTGRESQL.get(sqlstate) or _POSTGRESQL.get(sqlstate[:2], "")
    name = getattr(error, "sqlite_errorname", "")
    if name:
        return _SQLITE.get("_".join(name.split("_")[:2]), "")
    return next((remedy for words, remedy in _CONNECTING.items() if words in str(error)), "")
