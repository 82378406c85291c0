"""The verifiers of render tokens that docs/INTERFACE.md has, with what they are to accept and to refuse."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import jwt

from reportd.adapters.jwt_signer import JwtSigner
from reportd.config.render_tokens import RenderTokens
from reportd.core.jobs.job import Job
from reportd.core.jobs.render_claims import RenderClaims, hash_of
from reportd.core.render_keys import RenderKey
from tests.documents.blocks import DOCS, blocks_of
from tests.render_keys import a_key

ADDRESS = "http://127.0.0.1:8080"
"""The daemon's, in the documents."""

PARAMS = '{"city":"上海","rows":[1,2.5]}'


class Verifier(Protocol):
    """Runs the text of the document."""

    def claims(self, token: str, params: str) -> dict[str, Any] | None:
        """Return the claims, or None for what is refused."""
        ...

    def later(self, seconds: float) -> None:
        """Let so much time pass for the copy of the keys that it keeps."""
        ...


PAGE = "https://reports.internal"
"""The origin of the page, in the documents."""


def source(language: str, address: str, page: str = PAGE) -> str:
    """The text of the verifier in this language. ``address``: of the daemon; ``page``: the origin that it is for."""
    (block,) = [block for block in blocks_of(DOCS / "INTERFACE.md", language) if block.heading == "The render token"]
    assert ADDRESS in block.text
    return block.text.replace(ADDRESS, address).replace(PAGE, page)


def claims_of(**fields: Any) -> RenderClaims:
    now = int(time.time())
    own = RenderClaims(PAGE, "a user", "a task", 1, "quarterly", hash_of(PARAMS), now, now + 60)
    return replace(own, **fields)


def begun(seconds: float) -> RenderClaims:
    """Return what the token of an attempt says that begins so much later by the clock of the daemon."""
    job = Job("a task", "quarterly", {}, "a user", 0.0)
    margin, now = RenderTokens().margin_seconds, time.time() + seconds
    limits = {"lifetime_seconds": 60.0, "margin_seconds": margin}
    return RenderClaims.of(job, PAGE, attempt=1, parameters_sha256=hash_of(PARAMS), now=now, **limits)


def refused(key: RenderKey) -> Iterator[tuple[str, str, str]]:
    """Yield why, a token and parameters; all are to be refused by one who knows ``key``."""
    signer, past = JwtSigner("reportd", [key]), int(time.time()) - 1
    own = signer.sign(claims_of())
    public = key.material().public_key().public_bytes_raw()
    payload = claims_of().payload("reportd")
    yield "other parameters", own, "{}"
    yield "a replay after its end", signer.sign(claims_of(issued_at=past - 60, expires_at=past)), PARAMS
    yield "for another page", signer.sign(claims_of(audience="https://other.internal")), PARAMS
    yield "of another issuer", JwtSigner("other", [key]).sign(claims_of()), PARAMS
    yield "of another key", JwtSigner("reportd", [replace(a_key("x"), kid=key.kid)]).sign(claims_of()), PARAMS
    yield "a public key as secret", jwt.encode(payload, public, "HS256", headers={"kid": key.kid}), PARAMS
    yield "without a signature", jwt.encode(payload, "", "none", headers={"kid": key.kid}), PARAMS
    endless = {name: value for name, value in payload.items() if name != "exp"}
    yield "without an end", jwt.encode(endless, key.material(), "EdDSA", headers={"kid": key.kid}), PARAMS
    yield "cut", own[:-4], PARAMS
    yield "no token", "", PARAMS


def check(verifier: Verifier, signer: JwtSigner) -> None:
    """``signer``: its public keys are served where the verifier asks for them."""
    old, new = a_key("2026-05"), a_key("2026-11")
    signer.reconfigure("reportd", [old])
    claims = verifier.claims(signer.sign(claims_of()), PARAMS)
    assert claims is not None
    assert (claims["sub"], claims["taskId"], claims["aud"]) == ("a user", "a task", PAGE)
    assert verifier.claims(signer.sign(begun(RenderTokens().margin_seconds - 1.0)), PARAMS) is not None
    assert [why for why, token, params in refused(old) if verifier.claims(token, params) is not None] == []
    # As docs/OPERATIONS.md changes keys.
    kept = signer.sign(claims_of())
    signer.reconfigure("reportd", [old, new])
    verifier.later(60.0)
    signer.reconfigure("reportd", [new, old])
    assert verifier.claims(signer.sign(claims_of()), PARAMS) is not None
    assert verifier.claims(kept, PARAMS) is not None
