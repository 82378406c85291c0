"""Render tokens as JWTs (RFC 7519), by PyJWT."""

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from jwt.algorithms import OKPAlgorithm

from reportd.core.jobs.render_claims import RenderClaims
from reportd.core.render_keys import RenderKey
from reportd.ports import NoKeyError

MAX_TOKEN = 4096
"""Characters. A token of ours has about 700; a longer text is not even decoded."""


class JwtSigner:
    """Implements ``ports.TokenSigner``. The first of ``keys`` signs. Raises ValueError for a key that can't be used."""

    def __init__(self, issuer: str, keys: Sequence[RenderKey] = ()) -> None:
        self.reconfigure(issuer, keys)

    def reconfigure(self, issuer: str, keys: Sequence[RenderKey]) -> None:
        """Use these from now on. A token that another key has signed is not accepted any more."""
        materials = {key.kid: (key.algorithm, key.material()) for key in keys}
        self._issuer, self._keys = issuer, materials

    def sign(self, claims: RenderClaims) -> str:
        for kid, (algorithm, key) in self._keys.items():
            return jwt.encode(claims.payload(self._issuer), key, algorithm, headers={"kid": kid})
        raise NoKeyError("there is no key in render_tokens.keys")

    def verify(self, token: str) -> RenderClaims | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid") if len(token) <= MAX_TOKEN else None
            # By the configured algorithm: that of the header is the caller's choice.
            algorithm, key = self._keys.get(str(kid), ("", None))
            verifying = key.public_key() if algorithm == "EdDSA" else key
            claims = jwt.decode(token, verifying, [algorithm], issuer=self._issuer, options=_OPTIONS) if key else {}
        except jwt.PyJWTError:
            return None
        return RenderClaims.read(claims)

    def public_keys(self) -> Mapping[str, Any]:
        return {
            "keys": [
                {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": algorithm, "use": "sig"}
                for kid, (algorithm, key) in self._keys.items()
                if algorithm == "EdDSA"
            ]
        }


# Times are the caller's to judge, by its clock. The audience is the page's server, not the daemon.
_OPTIONS: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
