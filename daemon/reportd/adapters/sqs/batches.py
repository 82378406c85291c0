"""A batch operation of SQS. Concurrent calls share its requests."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from reportd.adapters.aws.errors import RejectedError, explain
from reportd.adapters.sqs.attributes import MAX_BATCH_BYTES
from reportd.adapters.sqs.messages import batched, size_bytes
from reportd.concurrency.batching import Batcher
from reportd.ports import UnavailableError

Entry = Mapping[str, Any]
Outcome = UnavailableError | RejectedError | None

_CALLS_PER_FLUSH = 1000
_REQUESTS_AT_ONCE = 10


class BatchOperation:
    """``request`` sends up to ten entries, each with an Id, and returns the parsed response.

    ``in_order`` sends one request after the other, for queues that keep order. ``linger_seconds``: how long a call
    waits until there are ``enough`` entries.
    """

    def __init__(
        self,
        request: Callable[[Sequence[Entry]], Awaitable[Mapping[str, Any]]],
        subject: str,
        *,
        max_bytes: int = MAX_BATCH_BYTES,
        in_order: bool = False,
        linger_seconds: float = 0.0,
        enough: int = 1,
    ) -> None:
        self._request = request
        self._subject = subject
        self._max_bytes = max_bytes
        self._in_order = in_order
        self._limiter = trio.CapacityLimiter(_REQUESTS_AT_ONCE)
        self._batcher: Batcher[Sequence[Entry], list[Outcome]] = Batcher(
            self._flush, _CALLS_PER_FLUSH, linger_seconds, enough
        )

    async def run(self) -> None:
        """Serve ``submit``. Must run for as long as ``submit`` is used."""
        await self._batcher.run()

    async def submit(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Return the outcome of each entry, in order; None for success."""
        return await self._batcher.submit(entries) if entries else []

    async def _flush(self, calls: Sequence[Sequence[Entry]]) -> list[list[Outcome]]:
        entries: list[Entry] = []
        positions_by_call: list[list[int]] = []
        receipts: dict[str | None, int] = {}
        for call in calls:
            positions_by_call.append([])
            for entry in call:
                receipt = entry.get("ReceiptHandle")
                position = receipts.get(receipt, len(entries))
                if receipt is not None:
                    receipts[receipt] = position
                # SQS does not specify the effect of a receipt that is twice in a batch: the later call counts.
                entries[position : position + 1] = [entry]
                positions_by_call[-1].append(position)
        outcomes: list[Outcome] = [None] * len(entries)
        async with trio.open_nursery() as nursery:
            for batch in batched([size_bytes(entry) for entry in entries], self._max_bytes):
                if self._in_order:
                    await self._send(entries, batch, outcomes)
                else:
                    nursery.start_soon(self._send, entries, batch, outcomes)
        return [[outcomes[position] for position in positions] for positions in positions_by_call]

    async def _send(self, entries: Sequence[Entry], positions: Sequence[int], outcomes: list[Outcome]) -> None:
        async with self._limiter:
            results = await self._request_outcomes([entries[position] for position in positions])
        for position, outcome in zip(positions, results, strict=True):
            outcomes[position] = outcome

    async def _request_outcomes(self, entries: Sequence[Entry]) -> list[Outcome]:
        try:
            answer = await self._request([{"Id": str(number), **entry} for number, entry in enumerate(entries)])
        except UnavailableError as error:
            return [error] * len(entries)
        except RejectedError as error:
            if len(entries) == 1:
                return [error]
            # SQS refuses some batches as a whole because of one entry. The other entries must not fail with it.
            return [outcome for entry in entries for outcome in await self._request_outcomes([entry])]
        missing = UnavailableError("queue", f"{self._subject}: the answer leaves an entry of the batch out")
        outcomes: list[Outcome] = [missing] * len(entries)
        for success in answer.get("Successful", ()):
            outcomes[int(success["Id"])] = None
        for failure in answer.get("Failed", ()):
            # The HTTP status that a request for this entry alone would have had.
            status = 400 if failure.get("SenderFault") else 500
            code, message = str(failure.get("Code", "")), str(failure.get("Message", ""))
            outcomes[int(failure["Id"])] = explain("queue", self._subject, code, message, status)
        return outcomes
