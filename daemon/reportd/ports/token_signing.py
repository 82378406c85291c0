"""Port of the render tokens: signed when an attempt begins, verified when one comes back."""

from collections.abc import Mapping
from typing import Any, Protocol

from reportd.core.jobs.render_claims import RenderClaims


class TokenSigner(Protocol):
    """Signs with the first of its keys, and verifies with all of them."""

    def sign(self, claims: RenderClaims) -> str:
        """Return the token. Raises NoKeyError when there is no key."""
        ...

    def verify(self, token: str) -> RenderClaims | None:
        """Return the claims of a token that one of the keys has signed for this issuer; None for any other text.

        Whether it has expired is left to the caller.
        """
        ...

    def public_keys(self) -> Mapping[str, Any]:
        """Return the public keys as a JWK Set (RFC 7517); secrets are not part of it."""
        ...


class NoKeyError(Exception):
    """There is no key to sign with."""
