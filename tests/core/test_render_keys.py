"""Keys of render tokens, from the text of the configuration."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reportd.core.render_keys import RenderKey

PLAIN = NoEncryption()
SECRET = bytes(range(32))


def pem(
    key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    encryption: KeySerializationEncryption = PLAIN,
) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(SECRET)
PUBLIC_DER = ED25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
FAULTY = {
    "": "is not the PEM of a private key",
    "a secret": "is not the PEM of a private key",
    pem(ED25519)[:60]: "is not the PEM of a private key",
    ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(): (
        "is not the PEM of a private key"
    ),
    pem(ED25519, BestAvailableEncryption(b"word")): "has a passphrase",
    pem(ec.generate_private_key(ec.SECP256R1())): "is a key of another kind",
}


def test_a_pem_is_a_key_of_ed25519() -> None:
    material = RenderKey("a", "EdDSA", pem(ED25519)).material()
    assert material.private_bytes_raw() == SECRET


@pytest.mark.parametrize("text", FAULTY)
def test_another_pem_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=FAULTY[text]) as refused:
        RenderKey("a", "EdDSA", text).material()
    assert not text or text not in str(refused.value)


def test_a_secret_is_base64_of_enough_bytes() -> None:
    text = base64.b64encode(SECRET).decode()
    assert RenderKey("a", "HS256", f"{text}\n").material() == SECRET


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("not base64!", "is not base64"),
        (base64.b64encode(SECRET[:31]).decode(), "is shorter than 32 bytes"),
        ("", "is shorter than 32 bytes"),
        ("ключ", "is not base64"),
        (base64.b64encode(pem(ED25519).encode()).decode(), "is a key of another kind"),
        (base64.b64encode(PUBLIC_DER).decode(), "is a key of another kind"),
        (base64.b64encode(b"ssh-ed25519 " + b"A" * 68).decode(), "is a key of another kind"),
    ],
)
def test_another_secret_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        RenderKey("a", "HS256", text).material()
    assert not text or text not in str(refused.value)


def test_a_key_does_not_show_its_text() -> None:
    assert repr(RenderKey("a", "HS256", "the secret")) == "RenderKey(kid='a', algorithm='HS256')"
