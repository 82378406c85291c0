"""The keys that sign and verify render tokens, parsed from the text of the configuration. No error quotes that text."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

ALGORITHMS = {
    "EdDSA": "the PEM of an Ed25519 private key without a passphrase (openssl genpkey -algorithm ed25519)",
    "HS256": "32 random bytes or more in base64 (openssl rand -base64 32)",
}
"""Each algorithm, and what its key is. EdDSA is with Ed25519 only (RFC 8037)."""

_LEAST_BYTES = 32
"""RFC 7518, section 3.2: a key of HS256 has at least the size of its hash."""


@dataclass(frozen=True, slots=True)
class RenderKey:
    """``kid``: its name in the header of a token. ``text``: see ALGORITHMS."""

    kid: str
    algorithm: str
    text: str = field(repr=False)

    def material(self) -> Any:
        """Return the key for a JWT library: an Ed25519 private key, or bytes.

        Raises ValueError that says what is wrong with the text.
        """
        return _ed25519(self.text) if self.algorithm == "EdDSA" else _secret(self.text)


def _secret(text: str) -> bytes:
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if len(secret) < _LEAST_BYTES:
        raise ValueError(f"is shorter than {_LEAST_BYTES} bytes")
    from jwt import InvalidKeyError
    from jwt.algorithms import HMACAlgorithm

    try:
        # It refuses keys of other kinds (PEM, DER, OpenSSH): what is public there would be the secret here.
        return HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except InvalidKeyError:
        raise ValueError("is a key of another kind") from None


def _ed25519(text: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode(), None)
    except TypeError:
        raise ValueError("has a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not the PEM of a private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("is a key of another kind")  # noqa: TRY004 - what is wrong is the text
    return key
