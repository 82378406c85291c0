"""Access tokens with roles, and the parser of the text that lists them, one token per line:

    NAME ROLE[,ROLE...] sha256:HEX [user=UUID]

Only hashes are kept. A token is 256 random bits and can't be guessed, so a plain SHA-256 is as safe as a slow password
hash, and costs a request a microsecond instead of a tenth of a second. It needs no salt: no two tokens are alike, and
no lookup table can hold so many.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest

from reportd.core.jobs.job import canonical_uuid


class Role(StrEnum):
    """What a token may do. ``operate`` includes ``read``, because an operator must see the state.

    No other role includes another: a submitter need not read, and an operator's token submits no reports.
    """

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"


LINE = "NAME ROLE[,ROLE] sha256:HEX [user=UUID]"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LEAST_WORDS, _MOST_WORDS = 3, 4


@dataclass(frozen=True, slots=True)
class Token:
    """``roles`` also holds the included roles. A token with a ``user_id`` reads and submits only that user's jobs."""

    name: str
    roles: frozenset[Role]
    digest: bytes = field(repr=False)
    user_id: str | None = None


class TokensError(ValueError):
    """The text is not a valid list of tokens. ``problems`` name lines and what is accepted.

    They never quote the text: it may hold a token where its hash belongs.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def digest_of(secret: bytes) -> bytes:
    return sha256(secret).digest()


def find_token(tokens: Iterable[Token], secret: bytes) -> Token | None:
    """Return the token whose secret this is. Every token is compared, each in constant time."""
    digest, match = digest_of(secret), None
    for token in tokens:
        if compare_digest(token.digest, digest):
            match = token
    return match


def parse(text: str) -> tuple[Token, ...]:
    """Return the tokens that a text lists. Empty lines and lines that begin with # are skipped. Raises TokensError."""
    tokens: list[Token] = []
    problems: list[str] = []
    lines: dict[tuple[str, str | bytes], int] = {}
    for number, words in enumerate(map(str.split, text.split("\n")), 1):
        if not words or words[0].startswith("#"):
            continue
        try:
            token = parse_line(words)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        problems += [
            f"line {number}: the {part[0]} is already used in line {first}; accepted: a unique one"
            for part in (("name", token.name), ("hash", token.digest))
            if (first := lines.setdefault(part, number)) != number
        ]
        tokens.append(token)
    if not tokens and not problems:
        # Unlike no file at all, an empty list would lock everybody out, so it is taken for a mistake.
        problems.append(f"there is no token; accepted: lines of {LINE}")
    if problems:
        raise TokensError(problems)
    return tuple(tokens)


def parse_line(words: Sequence[str]) -> Token:
    """Return the token of one line, given as its words. Raises ValueError."""
    if not _LEAST_WORDS <= len(words) <= _MOST_WORDS:
        raise ValueError(f"has {len(words)} parts; accepted: {LINE}")
    name, roles, digest, *user = words
    if not _NAME.fullmatch(name):
        raise ValueError("the name is not acceptable; accepted: up to 64 letters, digits and . _ @ -")
    hashed = _HASH.fullmatch(digest)
    if hashed is None:
        raise ValueError("the hash is not acceptable; accepted: sha256: and 64 hexadecimal digits")
    user_id = canonical_uuid(user[0].removeprefix("user=")) if user and user[0].startswith("user=") else None
    if user and user_id is None:
        raise ValueError("the user is not acceptable; accepted: user= and a UUID")
    return Token(name, _roles(roles), bytes.fromhex(hashed[1]), user_id)


def _roles(text: str) -> frozenset[Role]:
    names = text.split(",")
    if not set(names) <= set(Role):
        raise ValueError(f"the roles are not acceptable; accepted: {', '.join(Role)}, with commas between")
    roles = frozenset(map(Role, names))
    return roles | {Role.READ} if Role.OPERATE in roles else roles
