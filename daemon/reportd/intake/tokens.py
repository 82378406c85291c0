"""The accepted tokens: read from a file when the daemon starts, and again at each reload."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import structlog

from reportd.core.tokens import Token, TokensError, digest_of, find_token, parse, parse_line
from reportd.system.permissions import EXPOSED, is_exposed
from reportd.system.regular_files import read_regular

log = structlog.get_logger()


class TokensFileError(Exception):
    """The file can't be used. Each of ``problems`` names the file, the line if one is faulty, and what is accepted."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def file_problems(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a file of tokens."""
    try:
        _parsed(path)
    except TokensFileError as error:
        return error.problems
    return ()


class Tokens:
    """The tokens of a file. Without a file, no token is required. Raises TokensFileError."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._tokens: tuple[Token, ...] = () if path is None else _read(path)

    @property
    def required(self) -> bool:
        return self._path is not None

    def find(self, secret: bytes) -> Token | None:
        return find_token(self._tokens, secret)

    def named(self, name: str) -> Token | None:
        return next((token for token in self._tokens if token.name == name), None)

    def read(self) -> tuple[Token, ...]:
        """Read the file, but do not accept its tokens yet.

        Raises TokensFileError for any fault, so that a typing mistake neither locks everybody out nor lets anybody in.
        """
        return () if self._path is None else _read(self._path)

    def exchange(self, tokens: tuple[Token, ...]) -> None:
        """Accept these tokens from now on."""
        self._tokens = tokens


def new_token(name: str, roles: str, user_id: str | None = None) -> tuple[str, str]:
    """Return a new token and its line for the file. Raises ValueError.

    Secret scanners recognise a token that was published by mistake by its prefix.
    """
    secret = f"reportd_{secrets.token_urlsafe(32)}"
    words = [name, roles, f"sha256:{digest_of(secret.encode()).hex()}", *([f"user={user_id}"] if user_id else [])]
    parse_line(words)
    return secret, " ".join(words)


def _read(path: Path) -> tuple[Token, ...]:
    tokens, status = _parsed(path)
    if is_exposed(status):
        log.warning("tokens.exposed", file=str(path), detail=EXPOSED)
    return tokens


def _parsed(path: Path) -> tuple[tuple[Token, ...], os.stat_result]:
    try:
        data, status = read_regular(path)
        return parse(data.decode()), status
    except OSError as error:
        raise TokensFileError([f"{path} can't be read: {error.strerror}; accepted: a file of tokens"]) from None
    except UnicodeDecodeError:
        raise TokensFileError([f"{path} is not UTF-8; accepted: a file of tokens"]) from None
    except TokensError as error:
        raise TokensFileError([f"{path}: {problem}" for problem in error.problems]) from None
