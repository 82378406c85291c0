"""How a webhook is signed, as Standard Webhooks (standardwebhooks.com) describe it."""

import base64
import hmac


def signed_headers(webhook_id: str, at: float, body: bytes, secret: str) -> dict[str, str]:
    """What a receiver needs to know the sender. ``at``: seconds since the epoch, of this very attempt.

    ``secret`` is base64, with or without ``whsec_``. Empty: there is no signature, only what names the webhook.
    """
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(int(at))}
    if secret:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{webhook_id}.{int(at)}.".encode() + body
        headers["webhook-signature"] = f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"
    return headers
