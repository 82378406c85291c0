"""Render tokens as JWTs (RFC 7519), by PyJWT. It is imported where there are keys: that takes a 40th of a second."""

from collections.abc import Mapping, Sequence
from typing import Any

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
        public = [_jwk(kid, key) for kid, (algorithm, key) in materials.items() if algorithm == "EdDSA"]
        self._issuer, self._keys, self._public = issuer, materials, {"keys": public}

    def sign(self, claims: RenderClaims) -> str:
        import jwt

        for kid, (algorithm, key) in self._keys.items():
            return jwt.encode(claims.payload(self._issuer), key, algorithm, headers={"kid": kid})
        raise NoKeyError("there is no key in render_tokens.keys")

    def verify(self, token: str) -> RenderClaims | None:
        if not self._keys or len(token) > MAX_TOKEN:
            return None
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
            # By the configured algorithm: that of the header is the caller's choice.
            algorithm, key = self._keys.get(str(kid), ("", None))
            verifying = key.public_key() if algorithm == "EdDSA" else key
            claims = jwt.decode(token, verifying, [algorithm], issuer=self._issuer, options=_OPTIONS) if key else {}
        except jwt.PyJWTError:
            return None
        return RenderClaims.read(claims)

    def public_keys(self) -> Mapping[str, Any]:
        return self._public


def _jwk(kid: str, key: Any) -> dict[str, Any]:
    from jwt.algorithms import OKPAlgorithm

    return {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": "EdDSA", "use": "sig"}


# Times are the caller's to judge, by its clock. The audience is the page's server, not the daemon.
_OPTIONS: Any = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
