"""Lends the pages of the browsers, each to one job at a time."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from reportd.ports import Browser, Page


@dataclass(eq=False)
class ManagedBrowser:
    """A browser and its use.

    ``busy``: pages lent to jobs. ``parked``: those of them whose job waits without a slot. ``page_tasks``: tasks in
    ``pages`` that each keep one page. ``excess``: it retires because fewer browsers are wanted. ``closing``: its pages
    are no longer lent.
    """

    browser: Browser
    pages: trio.Nursery
    jobs: int = 0
    busy: int = 0
    parked: int = 0
    page_tasks: int = 0
    memory_mib: float = 0.0
    retiring: bool = False
    excess: bool = False
    closing: bool = False

    @property
    def alive(self) -> bool:
        return not self.closing and not self.browser.died.is_set()

    @property
    def active(self) -> bool:
        return self.alive and not self.retiring


@dataclass(eq=False)
class Lease:
    """A page that is offered or lent. The borrower sets ``reusable`` when the page may be scrubbed and lent again."""

    page: Page
    owner: ManagedBrowser
    used: bool
    reusable: bool = False
    returned: trio.Event = field(default_factory=trio.Event)

    @property
    def browser(self) -> Browser:
        return self.owner.browser


@dataclass(eq=False)
class _PageRequest:
    """A job that waits for a page. ``fresh``: the page must not have been used by another job."""

    fresh: bool
    lease: Lease | None = None
    granted: trio.Event = field(default_factory=trio.Event)


class PageLender:
    """``enough_active``: whether as many browsers as wanted are active. ``on_change``: called when a page is free again
    because its borrower was cancelled.
    """

    def __init__(self, enough_active: Callable[[], bool], on_change: Callable[[], None]) -> None:
        self._enough_active = enough_active
        self._on_change = on_change
        self._offers: list[Lease] = []
        self._requests: list[_PageRequest] = []

    async def take(self, *, fresh: bool) -> Lease:
        """Wait for a page."""
        request = _PageRequest(fresh)
        self._requests.append(request)
        self.match()
        try:
            await request.granted.wait()
        except trio.Cancelled:
            if request.lease is None:
                self._requests.remove(request)
            else:
                request.lease.owner.busy -= 1
                self.offer(request.lease)
                self._on_change()
            raise
        assert request.lease is not None  # noqa: S101 - set before `granted`
        return request.lease

    def offer(self, lease: Lease) -> None:
        """Offer a page to the jobs that wait."""
        if not lease.owner.closing:
            self._offers.append(lease)
            self.match()

    def withdraw(self, owner: ManagedBrowser) -> None:
        """Offer the pages of this browser no longer."""
        self._offers = [lease for lease in self._offers if lease.owner is not owner]

    def match(self) -> None:
        """Give free pages to waiting jobs, first come, first served."""
        for request in tuple(self._requests):
            lease = self._pick(request)
            if lease is not None:
                self._offers.remove(lease)
                self._requests.remove(request)
                # Busy from now on: the browser must not retire before the job has woken up.
                lease.owner.busy += 1
                request.lease = lease
                request.granted.set()

    def _pick(self, request: _PageRequest) -> Lease | None:
        """Choose a page of an active browser; of a retiring one only while replacements are missing."""
        usable = [lease for lease in self._offers if lease.owner.active]
        if not usable and not self._enough_active():
            usable = [lease for lease in self._offers if lease.owner.alive]
        for lease in usable:
            if not (request.fresh and lease.used):
                return lease
        if usable:  # all are used: discard one, so that its task makes a new page
            self._offers.remove(usable[0])
            usable[0].returned.set()
        return None
