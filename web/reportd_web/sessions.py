"""The login of a browser: a signed cookie that names a token, and nothing that could be used in its place."""

import hmac
import time
from collections.abc import Callable
from hashlib import sha256

from itsdangerous import BadSignature, TimestampSigner

from reportd.core.access import Token

COOKIE = "reportd"
SESSION_SECONDS = 12 * 3600
SKEW_SECONDS = 60
"""How far the clocks of two nodes may be apart."""


class Sessions:
    """Made of a secret that all nodes share, so that a login on one counts on each and outlives a restart.

    Each token signs with a key of its own, made of the secret and the token's hash: with the token its sessions end.
    The hash alone would do for that, but then whoever read the file of tokens could write cookies.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def issue(self, token: Token) -> str:
        return self._signer(token).sign(token.name).decode()

    def holder(self, cookie: str, named: Callable[[str], Token | None]) -> Token | None:
        """Whose session it is; None when it is over, or never was one."""
        # What comes from outside may hold anything; a signed value is name, time and signature, in ASCII.
        token = named(cookie.rsplit(".", 2)[0])
        if token is None:
            return None
        try:
            _, issued_at = self._signer(token).unsign(cookie.encode(errors="replace"), return_timestamp=True)
        except BadSignature:
            return None
        age = self._clock() - issued_at.timestamp()
        return token if -SKEW_SECONDS <= age <= SESSION_SECONDS else None

    def _signer(self, token: Token) -> TimestampSigner:
        key = hmac.digest(self._secret, token.digest, "sha256")
        return _Signer(key, self._clock)


class _Signer(TimestampSigner):
    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        super().__init__(key, salt=b"reportd.session", key_derivation="hmac", digest_method=sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock())
