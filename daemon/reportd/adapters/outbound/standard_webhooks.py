"""Signs a webhook as in Standard Webhooks (standardwebhooks.com)."""

import base64
import hmac


def signed_headers(webhook_id: str, at: float, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers that authenticate the sender. ``at``: the time of this attempt, seconds since the epoch.

    ``secret`` is base64, with or without ``whsec_``. If empty, there is no signature, only the webhook's id and time.
    """
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(int(at))}
    if secret:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{webhook_id}.{int(at)}.".encode() + body
        headers["webhook-signature"] = f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
    return headers
