"""Sends the demand as metrics to Amazon CloudWatch (PutMetricData)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from reportd.adapters.aws.client import open_client
from reportd.adapters.aws.errors import RejectedError, translated_errors
from reportd.core.capacity.scaling import Demand
from reportd.ports import UnavailableError

_PART = "cloudwatch"


class CloudWatch:
    """Receives the demand for autoscaling. ``queue`` is the dimension ``Queue``: its nodes are one fleet."""

    def __init__(self, client: Any, namespace: str, queue: str) -> None:
        self._client = client
        self._namespace = namespace
        self._dimensions = [{"Name": "Queue", "Value": queue}]

    async def publish(self, demand: Demand) -> None:
        values = {
            "Backlog": (demand.backlog, "Count"),
            "BacklogPerSlot": (demand.backlog_per_slot, "Count"),
            "BacklogSeconds": (demand.backlog_seconds, "Seconds"),
            "BacklogHeld": (demand.held, "Count"),
            "RenderSeconds": (demand.render_seconds, "Seconds"),
            "JobsRunning": (demand.running, "Count"),
            "NodesWanted": (demand.nodes_wanted, "Count"),
        }
        data = [
            {"MetricName": name, "Dimensions": self._dimensions, "Value": float(value), "Unit": unit}
            for name, (value, unit) in values.items()
            if value is not None
        ]
        try:
            with translated_errors(_PART, self._namespace):
                await self._client.put_metric_data(Namespace=self._namespace, MetricData=data)
        except RejectedError as error:
            raise UnavailableError(_PART, str(error)) from error


@asynccontextmanager
async def open_cloudwatch(
    namespace: str, queue: str, *, region: str = "", endpoint_url: str = "", ca_file: Path | None = None
) -> AsyncIterator[CloudWatch]:
    async with open_client(
        _PART, _PART, region=region, endpoint_url=endpoint_url, subject=namespace, ca_file=ca_file
    ) as client:
        yield CloudWatch(client, namespace, queue)
