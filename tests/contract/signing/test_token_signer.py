"""What a signer of render tokens promises."""

import base64
from typing import Any

import jwt
import orjson
import pytest

from reportd.adapters.jwt_signer import JwtSigner
from reportd.core.jobs.render_claims import RenderClaims
from reportd.core.render_keys import ALGORITHMS, RenderKey
from reportd.ports import NoKeyError, TokenSigner
from tests.render_keys import a_key

CLAIMS = RenderClaims("https://reports.internal", "a user", "a task", 1, "quarterly", "00", 1000, 1060)


@pytest.fixture(params=ALGORITHMS)
def key(request: pytest.FixtureRequest) -> RenderKey:
    return a_key("old", request.param)


def signer(*keys: RenderKey, issuer: str = "reportd") -> TokenSigner:
    return JwtSigner(issuer, keys)


def test_what_it_signs_it_verifies(key: RenderKey) -> None:
    token = signer(key).sign(CLAIMS)
    assert signer(key).verify(token) == CLAIMS
    assert jwt.get_unverified_header(token) == {"alg": key.algorithm, "kid": "old", "typ": "JWT"}


def test_without_a_key_it_signs_nothing() -> None:
    with pytest.raises(NoKeyError):
        signer().sign(CLAIMS)


def test_the_first_key_signs_and_all_verify(key: RenderKey) -> None:
    before, after = signer(key), signer(a_key("new"), key)
    assert after.verify(before.sign(CLAIMS)) == CLAIMS
    assert jwt.get_unverified_header(after.sign(CLAIMS))["kid"] == "new"
    assert before.verify(after.sign(CLAIMS)) is None


def test_other_keys_are_in_force_at_once(key: RenderKey) -> None:
    one = JwtSigner("reportd", [key])
    token = one.sign(CLAIMS)
    one.reconfigure("reportd", [a_key("new")])
    assert one.verify(token) is None
    assert signer(a_key("new")).verify(one.sign(CLAIMS)) == CLAIMS


def test_faulty_keys_change_nothing(key: RenderKey) -> None:
    one = JwtSigner("reportd", [key])
    with pytest.raises(ValueError, match="is not"):
        one.reconfigure("other", [RenderKey("bad", key.algorithm, "no key!")])
    assert signer(key).verify(one.sign(CLAIMS)) == CLAIMS


def test_only_public_keys_are_published() -> None:
    published = signer(a_key("one"), a_key("secret", "HS256"), a_key("two")).public_keys()
    assert [sorted(jwk) for jwk in published["keys"]] == [["alg", "crv", "kid", "kty", "use", "x"]] * 2
    assert [jwk["kid"] for jwk in published["keys"]] == ["one", "two"]
    token = signer(a_key("two")).sign(CLAIMS)
    claims = jwt.decode(token, jwt.PyJWK(published["keys"][1]), options={"verify_exp": False, "verify_aud": False})
    assert claims["taskId"] == "a task"


def forged(claims: dict[str, Any], key: Any, algorithm: str, **headers: Any) -> str:
    return jwt.encode(claims, key, algorithm, headers=headers)


def test_what_no_key_of_its_own_has_signed_is_refused(key: RenderKey) -> None:
    own, payload = signer(key), CLAIMS.payload("reportd")
    token = own.sign(CLAIMS)
    head, body, signature = token.split(".")
    edited = signer(key).sign(RenderClaims("https://x", "another user", "a task", 1, "quarterly", "00", 1, 2))
    material = key.material()
    public = getattr(material, "public_key", lambda: None)()
    header = orjson.dumps({"alg": key.algorithm, "kid": ["old"]})
    refused = {
        "text": "not a token",
        "nothing": "",
        "no signature": f"{head}.{body}.",
        "half a signature": token[:-4],
        "other claims": f"{head}.{edited.split('.')[1]}.{signature}",
        "another key of the same name": signer(RenderKey("old", "HS256", a_key("x", "HS256").text)).sign(CLAIMS),
        "an unknown key": signer(a_key("unknown")).sign(CLAIMS),
        "another issuer": signer(key, issuer="another").sign(CLAIMS),
        "no issuer": forged({k: v for k, v in payload.items() if k != "iss"}, material, key.algorithm, kid="old"),
        "no kid": forged(payload, material, key.algorithm),
        "a kid that is no text": f"{encoded(header)}.{body}.{signature}",
        "alg none": forged(payload, None, "none", kid="old"),
        "other claims than ours": forged({"iss": "reportd", "sub": "x"}, material, key.algorithm, kid="old"),
        "megabytes": "a" * 1_000_000 + token,
        "a header that is nested deeply": f"{encoded(b'[' * 3000)}.{body}.{signature}",
        "a header that is no text": f"{encoded(bytes([255] * 9))}.{body}.{signature}",
        "no base64": "é.é.é",
    }
    if public is not None:
        raw = public.public_bytes_raw()
        refused["the public key as a secret"] = forged(payload, raw, "HS256", kid="old")
    assert [name for name, text in refused.items() if own.verify(text) is not None] == []


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
