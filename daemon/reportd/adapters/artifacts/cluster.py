"""Checks that this node uses the artifact store of its cluster, before it writes or reads.

Two nodes that share a database but not the store would each report the other's PDFs as missing.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from reportd.core.jobs.job import Job
from reportd.ports import ArtifactStore, LocalPdf, Pdf, PdfInfo, UnavailableError, WrongStoreError

IDENTITY = "artifacts"
PLACE = "artifacts.place"


class Agreements(Protocol):
    """Values that the nodes of a cluster agree on. ``alone``: there is only one node."""

    alone: bool

    async def known(self, name: str) -> str | None: ...

    async def agree(self, name: str, value: str) -> str: ...

    async def change(self, name: str, value: str) -> None: ...


class ClusterStore:
    """Implements ``ports.Artifacts``. ``on_failure`` is called with the failed use and the reason."""

    def __init__(self, store: ArtifactStore, agreements: Agreements) -> None:
        self.on_failure: Callable[[str, str], None] = lambda _use, _reason: None
        self._store = store
        self._agreements = agreements
        self._lock = trio.Lock()
        self._verified: str | None = None

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        with self._reporting_failure("writes"):
            await self.verify()
            return await self._store.put(job, pdf)

    async def locate(self, job: Job) -> LocalPdf | str | None:
        with self._reporting_failure("reads"):
            await self.verify()
            return await self._store.locate(job)

    async def remove(self, task_id: str) -> None:
        with self._reporting_failure("writes"):
            await self.verify()
            await self._store.remove(task_id)

    async def probe(self) -> None:
        """Check that it can be used. Raises UnavailableError."""
        await self.verify()
        await self._store.probe()

    async def verify(self) -> None:
        """Check that it is the cluster's store. Raises WrongStoreError, or UnavailableError if it can't be read."""
        if await self._is_verified():
            return
        async with self._lock:
            if not await self._is_verified():
                self._verified = await self._verify()

    async def _is_verified(self) -> bool:
        """Return whether it needs no check. A bucket is checked once; a folder always, as it may lose its mount."""
        if self._verified is None:
            return False
        return bool(self._store.place) or await self._store.identity() == self._verified

    async def _verify(self) -> str | None:
        """Compare the store's mark with the cluster's, and write a missing one. Return the mark."""
        store, agreements = self._store, self._agreements
        known = await agreements.known(IDENTITY)
        own = await store.identity()
        # Nodes that start together must write the same mark, as one may overwrite another's: not every S3 server knows
        # conditions. If this node fails after the next line, the store is recognized by its place.
        new = known is None and own is None and bool(store.place)
        if new and await agreements.agree(PLACE, store.place) == store.place:
            known = await agreements.agree(IDENTITY, secrets.token_hex(16))
        if own is None and (known is None or agreements.alone or await self._is_known_place()):
            own = await store.mark(known or secrets.token_hex(16))
        if known is None and own is not None:
            known = await agreements.agree(IDENTITY, own)
        if own != known:
            if own is None or not agreements.alone:
                raise WrongStoreError(_mismatch(own, known), unmarked=own is None)
            await agreements.change(IDENTITY, own)
        if store.place:
            await agreements.change(PLACE, store.place)
        return own

    async def _is_known_place(self) -> bool:
        """Return whether the place is the cluster's. Then a lifecycle rule may have removed the mark."""
        return bool(self._store.place) and await self._agreements.known(PLACE) == self._store.place

    @contextmanager
    def _reporting_failure(self, use: str) -> Iterator[None]:
        try:
            yield
        except UnavailableError as error:
            self.on_failure(use, str(error))
            raise


def _mismatch(own: str | None, known: str | None) -> str:
    fault = "has no store.id" if own is None else f"has the store.id {own}"
    return (
        f"artifacts.url is not the store of the other nodes on this database: it {fault}, theirs is {known}. Let all "
        "nodes use the same folder (a shared mount, and is it mounted?) or the same bucket. To move to this one on "
        f"purpose, stop all nodes, copy the PDFs and store.id into it, or only a store.id with {known} in it, and start"
    )
