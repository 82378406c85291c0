"""A parameter that SQS knows and another server may not: left out once it has refused it, which is said once."""

from collections.abc import Mapping
from typing import Any

import structlog

from reportd.adapters.aws.client import RejectedError

log = structlog.get_logger()

COSTS = {
    "MessageGroupId": "on this queue a user who sends much is served before one who comes later",
    "ReceiveRequestAttemptId": "messages whose receive was answered in vain come again when their visibility ends",
}
"""What goes without. On a FIFO queue the group is not optional."""


class OptionalParameter:
    """One of a queue's. A request that does not hold it is none of its business."""

    def __init__(self, name: str, subject: str) -> None:
        self._name = name
        self._subject = subject
        self._wanted = True

    def given(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request, without the parameter where the server does not know it."""
        return request if self._wanted else self.without(request)

    def failing(self, request: Mapping[str, Any], outcome: Exception | None) -> bool:
        """Whether the request was refused for its sake: servers name it, or say that some parameter does not fit."""
        said = str(outcome)
        named = self._name in said or "not valid for this queue type" in said
        return isinstance(outcome, RejectedError) and self._name in request and named

    def without(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in request.items() if name != self._name}

    def refused(self, error: Exception) -> None:
        """The same request was taken without it."""
        if self._wanted:
            self._wanted = False
            log.warning(
                "queue.parameter_left_out",
                queue=self._subject,
                parameter=self._name,
                cost=COSTS[self._name],
                error=str(error),
            )
