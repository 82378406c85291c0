"""Alerts as the channels send them, and the errors of failed deliveries."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
import trio

from reportd.adapters.outbound.alert_channels import open_alert_channels
from reportd.core.alerts.incidents import Incident, Kind, Notice
from reportd.core.alerts.text import document, text, title
from reportd.ports import Channel, DeliveryError, UnavailableError
from tests.servers.aws import REGION, ask_sqs, new_queue, pretend_credentials
from tests.servers.site import Reply, hang, open_site, redirect

PAGE = "https://reports.example/"
NOON = 1_750_000_000.0
NOTICE = Notice(
    "id-1",
    "script_error:no chart",
    Incident(
        kind=Kind.QUARANTINED,
        report_type="sales",
        detail="script_error: <!channel> & <b>茶</b>",
        since=NOON,
        last_at=NOON + 60,
        total=12,
        untold=12,
        untold_since=NOON,
    ),
)


@asynccontextmanager
async def opened(*, webhook_url: str = "", slack_url: str = "", sns_topic_arn: str = "") -> AsyncIterator[Channel]:
    async with open_alert_channels(webhook_url, slack_url, sns_topic_arn, PAGE) as (channel,):
        yield channel


async def test_only_what_is_configured_is_there() -> None:
    async with open_alert_channels("", "", "", "") as channels:
        assert channels == []
    async with open_alert_channels("http://a.test/", "http://b.test/", "", "") as channels:
        assert [channel.name for channel in channels] == ["webhook", "slack"]


async def test_a_webhook_gets_the_whole_of_it_as_json() -> None:
    async with open_site({"/s3cret": Reply()}) as site, opened(webhook_url=site.url("/s3cret")) as channel:
        await channel.send(NOTICE)
    (request,) = site.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert json.loads(request.body) == document(NOTICE, PAGE)


async def test_slack_gets_text_that_mentions_nobody() -> None:
    async with open_site({"/s3cret": Reply("ok")}) as site, opened(slack_url=site.url("/s3cret")) as channel:
        await channel.send(NOTICE)
    (request,) = site.requests
    told = json.loads(request.body)
    assert list(told) == ["text"]
    assert "script_error: &lt;!channel&gt; &amp; &lt;b&gt;茶&lt;/b&gt;" in told["text"]
    assert "12 reports of sales" in told["text"]
    assert told["text"].endswith(PAGE)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply("no", 500), "it answers 500"),
        (Reply("s3cret", 404), "it answers 404"),
        (redirect("http://127.0.0.1:1/"), "it answers 302"),
    ],
)
async def test_what_is_no_success(reply: Reply, told: str) -> None:
    async with open_site({"/s3cret": reply}) as site, opened(webhook_url=site.url("/s3cret")) as channel:
        with pytest.raises(DeliveryError) as caught:
            await channel.send(NOTICE)
    assert str(caught.value) == told


async def test_what_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")
    async with open_site({"/s3cret": hang}) as site, opened(webhook_url=site.url("/s3cret")) as channel:
        with trio.move_on_after(0.2) as scope:
            await channel.send(NOTICE)
        assert scope.cancelled_caught, "the caller owns the timeout"
        assert len(site.requests) == 1
    async with opened(slack_url=f"http://127.0.0.9:{site.port}/s3cret") as channel:
        with pytest.raises(DeliveryError) as caught:
            await channel.send(NOTICE)
    assert "ConnectError" in str(caught.value)


# --- SNS ----------------------------------------------------------------------------------------------------


def ask_sns(server: str, **parameters: str) -> str:
    scope = f"AKIATESTING/20260101/{REGION}/sns/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
    answer = httpx.post(server, data={"Version": "2010-03-31", **parameters}, headers=headers, trust_env=False)
    answer.raise_for_status()
    return answer.text


@pytest.fixture
def sns(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The local server, which AWS clients now use."""
    pretend_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", moto)
    return moto


async def test_a_topic_gets_subject_text_and_attributes(sns: str) -> None:
    queue = new_queue(sns)
    arn = ask_sqs(queue, "GetQueueAttributes", QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = ask_sns(sns, Action="CreateTopic", Name="alerts").split("<TopicArn>")[1].split("<")[0]
    ask_sns(sns, Action="Subscribe", TopicArn=topic, Protocol="sqs", Endpoint=arn)
    async with opened(sns_topic_arn=topic) as channel:
        await channel.send(NOTICE)
        await channel.send(replace(NOTICE, incident=replace(NOTICE.incident, untold=0, report_type="x" * 64)))
    messages = ask_sqs(queue, "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    told, recovered = (json.loads(message["Body"]) for message in messages)
    assert (told["Subject"], told["Message"]) == (title(NOTICE), text(NOTICE, PAGE))
    attributes = {name: value["Value"] for name, value in told["MessageAttributes"].items()}
    assert attributes == {"id": "id-1", "type": "alert.raised", "kind": "quarantined", "reportType": "sales"}
    assert recovered["MessageAttributes"]["type"]["Value"] == "alert.recovered"


@pytest.mark.usefixtures("sns")
async def test_a_topic_that_is_not_there() -> None:
    async with opened(sns_topic_arn=f"arn:aws:sns:{REGION}:123456789012:missing") as channel:
        with pytest.raises((DeliveryError, UnavailableError)) as caught:
            await channel.send(NOTICE)
    assert "missing" in str(caught.value)
    assert "s3cr3t-of-the-tests" not in str(caught.value)


@pytest.mark.usefixtures("sns")
async def test_a_topic_that_can_not_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:1")
    async with opened(sns_topic_arn=f"arn:aws:sns:{REGION}:123456789012:alerts") as channel:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1 can't be reached"):
            await channel.send(NOTICE)
