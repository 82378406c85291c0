"""The channels of alerts: a POST of JSON, a message in Slack, a topic of Amazon SNS.

The operator configures the targets, so they are not checked. The URLs are secrets: no text of ours holds them.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import RejectedError, translated_errors
from reportd.adapters.outbound.client import open_web_client
from reportd.core.alerts.incidents import Notice
from reportd.core.alerts.text import document, text, title
from reportd.ports import Channel, DeliveryError

_MAX_SUBJECT = 100
"""SNS limit of a subject: 100 ASCII characters (Publish)."""


class HttpChannel:
    """Posts the JSON that ``compose`` makes."""

    def __init__(
        self, name: str, client: httpx.AsyncClient, url: str, compose: Callable[[Notice], dict[str, Any]]
    ) -> None:
        self.name = name
        self._client = client
        self._url = url
        self._compose = compose

    async def send(self, notice: Notice) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "reportd"}
        try:
            async with self._client.stream(
                "POST", self._url, content=orjson.dumps(self._compose(notice)), headers=headers
            ) as response:
                status = response.status_code
        except httpx.HTTPError as error:
            raise DeliveryError(f"the request failed ({type(error).__name__})") from None
        if not httpx.codes.is_success(status):
            raise DeliveryError(f"it answers {status}")


class SnsChannel:
    """Publishes the text. Attributes with the kind of notice serve as filters."""

    name = "sns"

    def __init__(self, client: Any, topic_arn: str, status_url: str) -> None:
        self._client = client
        self._topic_arn = topic_arn
        self._status_url = status_url

    async def send(self, notice: Notice) -> None:
        attributes = document(notice)
        try:
            with translated_errors("alerts", self._topic_arn):
                await self._client.publish(
                    TopicArn=self._topic_arn,
                    Subject=title(notice)[:_MAX_SUBJECT],
                    Message=text(notice, self._status_url),
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": str(attributes[name])}
                        for name in ("id", "type", "kind", "reportType")
                    },
                )
        except RejectedError as error:
            raise DeliveryError(str(error)) from None


def slack_message(notice: Notice, status_url: str) -> dict[str, Any]:
    """Return a Slack message. The text is escaped: text of a page or message must not mention users (api.slack.com,
    "Escaping text").
    """
    escaped = text(notice, status_url)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        escaped = escaped.replace(character, entity)
    return {"text": f"*{title(notice)}*\n{escaped}"}


@asynccontextmanager
async def open_alert_channels(
    webhook_url: str, slack_url: str, sns_topic_arn: str, status_url: str, ca_file: Path | None = None
) -> AsyncIterator[list[Channel]]:
    """Yield the configured channels. ``status_url``: the status page's URL for the recipients.

    ``ca_file``: PEM file of further authorities.
    """
    channels: list[Channel] = []
    async with AsyncExitStack() as stack:
        if webhook_url or slack_url:
            client = await stack.enter_async_context(open_web_client(ca_file))
            if webhook_url:
                channels.append(HttpChannel("webhook", client, webhook_url, lambda n: document(n, status_url)))
            if slack_url:
                channels.append(HttpChannel("slack", client, slack_url, lambda n: slack_message(n, status_url)))
        if sns_topic_arn:
            region = sns_topic_arn.split(":")[3]
            opened = open_client("sns", "alerts", region=region, subject=sns_topic_arn, ca_file=ca_file)
            sns = await stack.enter_async_context(opened)
            channels.append(SnsChannel(sns, sns_topic_arn, status_url))
        yield channels
