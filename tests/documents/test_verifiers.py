"""The verifier in Python that docs/INTERFACE.md has. That in JavaScript is tried in tests/engines."""

from typing import Any

import jwt

from reportd.adapters.jwt_signer import JwtSigner
from tests.documents.verifiers import PAGE, check, source
from tests.servers.keys import serving_keys


class PythonVerifier:
    def __init__(self, address: str, page: str = PAGE) -> None:
        self._names: dict[str, Any] = {}
        exec(source("python", address, page), self._names)  # noqa: S102 - our own document

    def claims(self, token: str, params: str) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = self._names["verified"](token, params)
        except jwt.PyJWTError:
            return None
        return claims

    def later(self, seconds: float) -> None:
        self._names["KEYS"]._last_successful_fetch -= seconds


def test_the_verifier_in_python_does_what_the_document_says() -> None:
    signer = JwtSigner("reportd")
    with serving_keys(signer.public_keys) as address:
        check(PythonVerifier(address), signer)
