"""The tokens that are accepted now: read from a file when the daemon starts, and again when it is told to."""

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

import structlog

from reportd.core.access import Token, TokensError, digest_of, matching, parse, parse_line
from reportd.system.regular_files import read_regular

log = structlog.get_logger()

_EXPOSED = stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""Reading by the group is no fault: systemd gives a service its credentials that way (an ACL shows as a group's)."""


class TokensFileError(Exception):
    """The file can't be used. Each of ``problems`` names it, a faulty line where it is one, and what is accepted."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def file_problems(path: Path) -> tuple[str, ...]:
    """What is wrong with such a file."""
    try:
        _parsed(path)
    except TokensFileError as error:
        return error.problems
    return ()


class Tokens:
    """Those of a file; without one nobody is asked for any. Raises TokensFileError."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._tokens: tuple[Token, ...] = () if path is None else _read(path)

    @property
    def required(self) -> bool:
        return self._path is not None

    def find(self, secret: bytes) -> Token | None:
        return matching(self._tokens, secret)

    def named(self, name: str) -> Token | None:
        return next((token for token in self._tokens if token.name == name), None)

    def read(self) -> tuple[Token, ...]:
        """What the file says now, which is not in force yet. Raises TokensFileError: a typing mistake must neither lock
        everybody out nor let anybody in.
        """
        return () if self._path is None else _read(self._path)

    def exchange(self, tokens: tuple[Token, ...]) -> None:
        """From now on these are accepted."""
        self._tokens = tokens


def new_token(name: str, roles: str, user_id: str | None = None) -> tuple[str, str]:
    """A new token, and its line for the file. Raises ValueError.

    The prefix lets scanners recognise one that was published by mistake.
    """
    secret = f"reportd_{secrets.token_urlsafe(32)}"
    words = [name, roles, f"sha256:{digest_of(secret.encode()).hex()}", *([f"user={user_id}"] if user_id else [])]
    parse_line(words)
    return secret, " ".join(words)


def _read(path: Path) -> tuple[Token, ...]:
    tokens, found = _parsed(path)
    if found.st_mode & _EXPOSED:
        log.warning("tokens.exposed", file=str(path), detail="others can read or change it; chmod 600 mends that")
    return tokens


def _parsed(path: Path) -> tuple[tuple[Token, ...], os.stat_result]:
    try:
        data, found = read_regular(path)
        return parse(data.decode()), found
    except OSError as error:
        raise TokensFileError([f"{path} can't be read: {error.strerror}; accepted: a file of tokens"]) from None
    except UnicodeDecodeError:
        raise TokensFileError([f"{path} is not UTF-8; accepted: a file of tokens"]) from None
    except TokensError as error:
        raise TokensFileError([f"{path}: {problem}" for problem in error.problems]) from None
