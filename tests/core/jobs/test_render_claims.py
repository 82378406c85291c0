"""What a render token says."""

from dataclasses import replace
from typing import Any

import pytest

from reportd.core.jobs.job import Job
from reportd.core.jobs.render_claims import RenderClaims, hash_of

JOB = Job("8f0b7a52-6a4f-5c53-9f5d-0e3a1c2b4d6e", "quarterly", {}, "7c9e6679-7425-40de-944b-e07fc1f90ae7", 0.0)


def claims_of(**fields: Any) -> RenderClaims:
    given: dict[str, Any] = {"attempt": 2, "parameters_sha256": hash_of("{}"), "now": 1000.4}
    given |= {"lifetime_seconds": 60.2, "margin_seconds": 5.0}
    return RenderClaims.of(JOB, "https://Reports.internal/render?params={}", **(given | fields))


def test_a_token_says_whom_it_is_for() -> None:
    assert claims_of().payload("reportd") == {
        "iss": "reportd",
        "aud": "https://reports.internal",
        "sub": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "jti": "8f0b7a52-6a4f-5c53-9f5d-0e3a1c2b4d6e.2",
        "taskId": "8f0b7a52-6a4f-5c53-9f5d-0e3a1c2b4d6e",
        "attempt": 2,
        "reportType": "quarterly",
        "parametersSha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "iat": 995,
        "exp": 1066,
    }


def test_a_token_never_lives_shorter_than_was_asked_for() -> None:
    claims = claims_of(now=1000.9, lifetime_seconds=0.2, margin_seconds=0.3)
    assert claims.issued_at <= 1000.9 - 0.3
    assert claims.expires_at >= 1000.9 + 0.2 + 0.3


def test_what_was_written_is_read_again() -> None:
    assert RenderClaims.read(claims_of().payload("reportd")) == claims_of()


@pytest.mark.parametrize("claim", ["aud", "sub", "taskId", "attempt", "reportType", "parametersSha256", "iat", "exp"])
@pytest.mark.parametrize("value", [None, True, 1.5, ["https://reports.internal"]])
def test_a_token_without_one_of_its_claims_is_none_of_ours(claim: str, value: object) -> None:
    assert RenderClaims.read(claims_of().payload("reportd") | {claim: value}) is None


def test_the_hash_is_of_the_text_in_utf_8() -> None:
    assert hash_of('{"city":"上海"}') == "3b0f3e5c58f52fa4533daa7b0e6a9b4be261914e631cbff9d805e7b3c0e45f52"


def test_each_attempt_has_an_id_of_its_own() -> None:
    assert claims_of().payload("")["jti"] != replace(claims_of(), attempt=3).payload("")["jti"]
