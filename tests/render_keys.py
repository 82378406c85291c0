"""Keys of render tokens for tests."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reportd.core.render_keys import RenderKey


def a_key(kid: str, algorithm: str = "EdDSA") -> RenderKey:
    """The same for the same name."""
    seed = kid.encode().ljust(32)[:32]
    if algorithm == "HS256":
        return RenderKey(kid, algorithm, base64.b64encode(seed).decode())
    private = Ed25519PrivateKey.from_private_bytes(seed)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return RenderKey(kid, algorithm, pem.decode())
