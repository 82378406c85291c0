"""A batch operation of SQS, shared by whoever calls at the same time."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio

from reportd.adapters.aws.client import RejectedError, explain
from reportd.adapters.sqs.attributes import MAX_BATCH_BYTES
from reportd.adapters.sqs.messages import packed, size_bytes
from reportd.concurrency.batching import Batcher
from reportd.ports import UnavailableError

Entry = Mapping[str, Any]
Outcome = UnavailableError | RejectedError | None

_CALLS_PER_FLUSH = 1000
_REQUESTS_AT_ONCE = 10


class BatchOperation:
    """``request`` sends up to ten entries that have an Id, and answers with the parsed response.

    ``in_order`` sends one request after the other, for queues that keep order.
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
        """Must run for as long as ``submit`` is used."""
        await self._batcher.run()

    async def submit(self, entries: Sequence[Entry]) -> list[Outcome]:
        """What became of each, in order."""
        return await self._batcher.submit(entries) if entries else []

    async def _flush(self, calls: Sequence[Sequence[Entry]]) -> list[list[Outcome]]:
        entries: list[Entry] = []
        places: list[list[int]] = []
        receipts: dict[str | None, int] = {}
        for call in calls:
            places.append([])
            for entry in call:
                receipt = entry.get("ReceiptHandle")
                place = receipts.get(receipt, len(entries))
                if receipt is not None:
                    receipts[receipt] = place
                # SQS does not say what becomes of a receipt that is twice in a batch: the later call counts.
                entries[place : place + 1] = [entry]
                places[-1].append(place)
        outcomes: list[Outcome] = [None] * len(entries)
        async with trio.open_nursery() as nursery:
            for positions in packed([size_bytes(entry) for entry in entries], self._max_bytes):
                if self._in_order:
                    await self._send(entries, positions, outcomes)
                else:
                    nursery.start_soon(self._send, entries, positions, outcomes)
        return [[outcomes[place] for place in call] for call in places]

    async def _send(self, entries: Sequence[Entry], positions: Sequence[int], outcomes: list[Outcome]) -> None:
        async with self._limiter:
            told = await self._outcomes([entries[position] for position in positions])
        for position, outcome in zip(positions, told, strict=True):
            outcomes[position] = outcome

    async def _outcomes(self, entries: Sequence[Entry]) -> list[Outcome]:
        try:
            answer = await self._request([{"Id": str(number), **entry} for number, entry in enumerate(entries)])
        except UnavailableError as error:
            return [error] * len(entries)
        except RejectedError as error:
            if len(entries) == 1:
                return [error]
            # SQS refuses some batches as a whole for the sake of one entry, which must not be the others' fault.
            return [outcome for entry in entries for outcome in await self._outcomes([entry])]
        silence = UnavailableError("queue", f"{self._subject}: the answer leaves an entry of the batch out")
        outcomes: list[Outcome] = [silence] * len(entries)
        for done in answer.get("Successful", ()):
            outcomes[int(done["Id"])] = None
        for failed in answer.get("Failed", ()):
            # The status a request for this entry alone would have had.
            status = 400 if failed.get("SenderFault") else 500
            code, message = str(failed.get("Code", "")), str(failed.get("Message", ""))
            outcomes[int(failed["Id"])] = explain("queue", self._subject, code, message, status)
        return outcomes
