"""What a render token says: for whom a page is rendered, in which attempt, and until when. An adapter signs it.

A token is for one attempt. It says nothing that the page's server must not know, and opens nothing by itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from reportd.core.jobs.job import Job
from reportd.core.pages.network import url_origin


@dataclass(frozen=True, slots=True)
class RenderClaims:
    """``audience``: the origin of the page's URL. ``attempt``: its number among all attempts of the job.

    ``parameters_sha256``: of the parameters' JSON text, in hexadecimal digits. Times are whole seconds since the epoch.
    """

    audience: str
    user_id: str
    task_id: str
    attempt: int
    report_type: str
    parameters_sha256: str
    issued_at: int
    expires_at: int

    @classmethod
    def of(
        cls,
        job: Job,
        url: str,
        *,
        attempt: int,
        parameters_sha256: str,
        now: float,
        lifetime_seconds: float,
        margin_seconds: float,
    ) -> Self:
        """Return the claims of an attempt that begins ``now``. ``url``: of the page. Raises ValueError for a bad one.

        The token is valid for ``lifetime_seconds``, and ``margin_seconds`` more at both ends: a verifier whose clock is
        late may refuse a token that was issued in its future (PyJWT does). Seconds are rounded up to whole ones.
        """
        return cls(
            audience=url_origin(url),
            user_id=job.user_id,
            task_id=job.task_id,
            attempt=attempt,
            report_type=job.report_type,
            parameters_sha256=parameters_sha256,
            issued_at=math.floor(now - margin_seconds),
            expires_at=math.ceil(now + lifetime_seconds + margin_seconds),
        )

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Self | None:
        """Return the claims of a token whose signature was checked; None if it is no render token."""
        claims = {name: payload.get(claim) for name, claim in _CLAIMS.items()}
        if all(type(claims[name]) is kind for name, kind in cls.__annotations__.items()):
            return cls(**claims)  # type: ignore[arg-type]
        return None

    def payload(self, issuer: str) -> dict[str, Any]:
        """Return the claims by their names in the token."""
        named = {claim: getattr(self, name) for name, claim in _CLAIMS.items()}
        return {"iss": issuer, **named, "jti": f"{self.task_id}.{self.attempt}"}


_CLAIMS = {
    "audience": "aud",
    "user_id": "sub",
    "task_id": "taskId",
    "attempt": "attempt",
    "report_type": "reportType",
    "parameters_sha256": "parametersSha256",
    "issued_at": "iat",
    "expires_at": "exp",
}


def hash_of(parameters_text: str) -> str:
    """Return the SHA-256 of the JSON text in UTF-8. A page gets exactly this text, whichever way it gets it."""
    return sha256(parameters_text.encode()).hexdigest()
