"""Signatures, verified by the reference library of Standard Webhooks."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from reportd.adapters.outbound.standard_webhooks import signed_headers

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@settings(deadline=None, max_examples=30)
@given(text=st.text(), prefix=st.booleans())
def test_the_reference_takes_what_is_signed(text: str, prefix: bool) -> None:
    secret = SECRET if prefix else SECRET.removeprefix("whsec_")
    headers = signed_headers("msg_1", time.time(), text.encode(), secret)
    Webhook(SECRET).verify(text, headers, json_parse=False)


def test_the_example_of_the_specification() -> None:
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.9, b'{"test": 2432232314}', OTHER)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_it_covers_everything(changed: str) -> None:
    at, webhook_id, body = time.time(), "msg_1", b'{"type": "report.succeeded"}'
    headers = signed_headers(webhook_id, at, body, OTHER if changed == "secret" else SECRET)
    headers |= {"webhook-id": "msg_2"} if changed == "id" else {}
    headers |= {"webhook-timestamp": str(int(at) - 1)} if changed == "time" else {}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" " if changed == "body" else body, headers)


def test_without_a_secret_there_is_no_signature() -> None:
    assert signed_headers("msg_1", 5.0, b"{}", "") == {"webhook-id": "msg_1", "webhook-timestamp": "5"}
