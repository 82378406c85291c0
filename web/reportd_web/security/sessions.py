"""Logins of browsers: a signed cookie that names a token, and can't be used as one."""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from itsdangerous import BadSignature, TimestampSigner

from reportd.core.tokens import Token

COOKIE = "reportd"
SESSION_SECONDS = 12 * 3600
SKEW_SECONDS = 60
"""The most that the clocks of two nodes may differ."""


_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Session:
    """One login of a browser. ``begun_at`` in seconds since the epoch."""

    token: Token
    id: str
    begun_at: float


class Sessions:
    """Issues and checks sessions. All nodes share ``secret``, so a login holds on all nodes and outlives a restart.

    The signing key is made of the secret and the token's hash, so sessions end with their token. The hash alone would
    do for that, but then a reader of the tokens file could forge cookies.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def issue(self, token: Token) -> str:
        """Return a new cookie for the token."""
        return self._signer(token).sign(f"{token.name}.{secrets.token_urlsafe(_ID_BYTES)}").decode()

    def find(self, cookie: str, named: Callable[[str], Token | None]) -> Session | None:
        """Return the session of a cookie; None when it has expired or is not valid."""
        # A cookie may hold anything; a signed one is name, id, time and signature, in ASCII.
        name, *rest = cookie.rsplit(".", 3)
        token = named(name)
        if token is None or len(rest) < 3:  # noqa: PLR2004 - see above
            return None
        try:
            _, issued_at = self._signer(token).unsign(cookie.encode(errors="replace"), return_timestamp=True)
        except BadSignature:
            return None
        session = Session(token, rest[0], issued_at.timestamp())
        return session if -SKEW_SECONDS <= self._clock() - session.begun_at <= SESSION_SECONDS else None

    def _signer(self, token: Token) -> TimestampSigner:
        key = hmac.digest(self._secret, token.digest, "sha256")
        return _Signer(key, self._clock)


class _Signer(TimestampSigner):
    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        super().__init__(key, salt=b"reportd.session", key_derivation="hmac", digest_method=sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock())
