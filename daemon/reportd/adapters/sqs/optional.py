"""A parameter that not every SQS-compatible server knows. Once refused, it is left out; that is logged once."""

from collections.abc import Mapping
from typing import Any

import structlog

from reportd.adapters.aws.errors import RejectedError

log = structlog.get_logger()

COSTS = {
    "MessageGroupId": "on this queue a user with many messages can delay the messages of other users",
    "ReceiveRequestAttemptId": "when the answer to a receive is lost, its messages return after the visibility timeout",
}
"""What is lost without the parameter. On a FIFO queue the group is not optional."""


class OptionalParameter:
    """An optional parameter of one queue. Requests without it pass unchanged."""

    def __init__(self, name: str, subject: str) -> None:
        self._name = name
        self._subject = subject
        self._supported = True

    def apply(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the request, without the parameter if the server does not know it."""
        return request if self._supported else self.without(request)

    def caused(self, request: Mapping[str, Any], outcome: Exception | None) -> bool:
        """Return whether the parameter caused the refusal: servers name it, or say that a parameter is not valid."""
        text = str(outcome)
        named = self._name in text or "not valid for this queue type" in text
        return isinstance(outcome, RejectedError) and self._name in request and named

    def without(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in request.items() if name != self._name}

    def drop(self, error: Exception) -> None:
        """Leave the parameter out from now on: the server refused it, and took the same request without it."""
        if self._supported:
            self._supported = False
            log.warning(
                "queue.parameter_left_out",
                queue=self._subject,
                parameter=self._name,
                cost=COSTS[self._name],
                error=str(error),
            )
