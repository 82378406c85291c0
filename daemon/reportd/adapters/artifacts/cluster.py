"""The artifact store of the cluster: whatever is not, nothing is put into, and nothing is looked for in it.

Two nodes that share a database and not their store would each say of the other's PDFs that they are gone.
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
    """What the nodes of a cluster agree on. ``alone``: there is one node."""

    alone: bool

    async def known(self, name: str) -> str | None: ...

    async def agree(self, name: str, value: str) -> str: ...

    async def change(self, name: str, value: str) -> None: ...


class ClusterStore:
    """Implements ``ports.Artifacts``. ``on_failure``: is told which use of it failed, and why."""

    def __init__(self, store: ArtifactStore, agreements: Agreements) -> None:
        self.on_failure: Callable[[str, str], None] = lambda _use, _why: None
        self._store = store
        self._agreements = agreements
        self._lock = trio.Lock()
        self._verified: str | None = None

    async def put(self, job: Job, pdf: Pdf) -> PdfInfo:
        with self._told("writes"):
            await self.verify()
            return await self._store.put(job, pdf)

    async def locate(self, job: Job) -> LocalPdf | str | None:
        with self._told("reads"):
            await self.verify()
            return await self._store.locate(job)

    async def remove(self, task_id: str) -> None:
        with self._told("writes"):
            await self.verify()
            await self._store.remove(task_id)

    async def probe(self) -> None:
        """Whether it can be used. Raises UnavailableError."""
        await self.verify()
        await self._store.probe()

    async def verify(self) -> None:
        """Raises WrongStoreError, or UnavailableError when it can't be looked at."""
        if await self._is_verified():
            return
        async with self._lock:
            if not await self._is_verified():
                self._verified = await self._verify()

    async def _is_verified(self) -> bool:
        """Once is enough for a bucket. Without its mount, a folder is another one."""
        if self._verified is None:
            return False
        return bool(self._store.place) or await self._store.identity() == self._verified

    async def _verify(self) -> str | None:
        """Its mark."""
        store, agreements = self._store, self._agreements
        known = await agreements.known(IDENTITY)
        own = await store.identity()
        # Nodes that start together mark it alike, as the mark of one may take the place of another's: not every server
        # of S3 knows conditions. Cut off after this, it is known by its name.
        new = known is None and own is None and bool(store.place)
        if new and await agreements.agree(PLACE, store.place) == store.place:
            known = await agreements.agree(IDENTITY, secrets.token_hex(16))
        if own is None and (known is None or agreements.alone or await self._is_known_by_name()):
            own = await store.mark(known or secrets.token_hex(16))
        if known is None and own is not None:
            known = await agreements.agree(IDENTITY, own)
        if own != known:
            if own is None or not agreements.alone:
                raise WrongStoreError(_words(own, known))
            await agreements.change(IDENTITY, own)
        if store.place:
            await agreements.change(PLACE, store.place)
        return own

    async def _is_known_by_name(self) -> bool:
        """A lifecycle rule may have taken the mark away."""
        return bool(self._store.place) and await self._agreements.known(PLACE) == self._store.place

    @contextmanager
    def _told(self, use: str) -> Iterator[None]:
        try:
            yield
        except UnavailableError as error:
            self.on_failure(use, str(error))
            raise


def _words(own: str | None, known: str | None) -> str:
    found = "has no store.id" if own is None else f"has the store.id {own}"
    return (
        f"artifacts.url is not the store of the other nodes on this database: it {found}, theirs is {known}. Let all "
        "nodes use the same folder (a shared mount, and is it mounted?) or the same bucket. To move to this one on "
        f"purpose, stop all nodes, copy the PDFs and store.id into it, or only a store.id with {known} in it, and start"
    )
