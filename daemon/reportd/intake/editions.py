"""The edition of a template that is in force.

Its files are looked at each time a job uses it. A changed edition is checked before it is put in force; a faulty one is
refused, and the one before stays.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson
import structlog
import trio

from reportd.core.faults import FaultError
from reportd.core.pages.editions import Edition
from reportd.intake.edition_files import Reading, samples
from reportd.intake.edition_reader import SETTLE_SECONDS, SETTLE_TRIES, EditionAssets, EditionReader, unsettled_seconds
from reportd.ports import EditionStore, UnavailableError
from reportd.system.regular_files import read_regular

BEGUN_SECONDS = 5.0
"""How long a file that is the beginning of what it was before may be written further. Jobs do not wait for it."""

LOOK_SECONDS = 1.0
"""A file system that does not answer in this time leaves the edition in force."""

log = structlog.get_logger()


class LiveEdition:
    """The edition of one report type. ``trouble``: why what is in the files is not in force; empty if it is.

    ``seen``: the files, and the sample, as they were when they were judged. ``kept``: the hash that the store has.

    ``reading``: what the files were when ``edition`` was made of them, or else when they were refused. ``context``: the
    locale and the timezone of the report type, for its sample.
    """

    def __init__(
        self,
        report_type: str,
        reader: EditionReader,
        store: EditionStore | None,
        *,
        edition: Edition,
        reading: Reading,
        context: Mapping[str, str] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.edition = edition
        self.trouble = ""
        self._report_type = report_type
        self._reader = reader
        self._store = store
        self.kept = ""
        self._context = context
        self._clock = clock
        self.seen = reading
        self._cut_off: tuple[str, float] | None = None
        """The edition that was refused as cut off, and when its files were saved."""
        self._taking: trio.Event | None = None
        self._not_before = 0.0

    def go_on_from(self, before: "LiveEdition") -> None:
        """Keep what another object had in force: a reload checks less than a change of the files does."""
        if before.edition.template == self.edition.template and before.edition.hash != self.edition.hash:
            self.edition, self.trouble = before.edition, before.trouble
            self.seen, self._cut_off = before.seen, before._cut_off  # noqa: SLF001 - of the same class
        self.kept = before.kept

    def assets(self, edition: Edition) -> EditionAssets:
        """Return the files of an edition as a page asks for them."""
        return EditionAssets(edition, self._reader)

    async def current(self) -> Edition:
        """Return the edition in force, after a look at the files. It takes a tenth of a millisecond if none changed."""
        for _ in range(3):
            seen = self.seen
            # A clock that is set back must not hold it for longer.
            if 0 < self._not_before - self._clock() <= LOOK_SECONDS or await self._is_current():
                break
            if self._taking is not None:
                await self._taking.wait()
                continue
            if self.seen is not seen:  # another job has taken them while this one looked
                continue
            self._taking = trio.Event()
            try:
                await self._take()
            finally:
                self._taking.set()
                self._taking = None
        return self.edition

    async def _is_current(self) -> bool:
        try:
            return await self._reader.blocking(self.seen.is_current, LOOK_SECONDS)
        except UnavailableError as error:
            log.warning("edition.not_looked_at", reportType=self._report_type, error=str(error))
            return True

    async def _take(self) -> None:
        """Put the files in force, if they are sound and nobody is writing them."""
        try:
            for _ in range(SETTLE_TRIES):
                reading = await self._reader.read(self.edition.template, self._report_type)
                edition = reading.edition
                if edition is not None and edition.hash == self.edition.hash:
                    break
                if edition is not None and await self._reader.blocking(partial(edition.may_go_on, self.edition)):
                    if unsettled_seconds(reading.changed_at, self._clock(), BEGUN_SECONDS):
                        self._not_before = self._clock() + SETTLE_SECONDS
                        return
                    break
                if (wait := unsettled_seconds(reading.changed_at, self._clock())) == 0:
                    break
                await trio.sleep(wait)
            else:
                # They are written again and again. Jobs do not wait for the end of that.
                self._not_before = self._clock() + LOOK_SECONDS
                return
            await self.judge(reading)
        except (UnavailableError, OSError) as error:
            log.warning("edition.not_looked_at", reportType=self._report_type, error=str(error))

    async def judge(self, reading: Reading, *, kept: bool = False) -> None:
        """Put an edition in force, or refuse it. Raises UnavailableError when it can't be checked now.

        ``kept``: what is in force comes from the store, which only a daemon that runs may write.
        """
        if kept:
            self.kept = self.edition.hash
        edition = reading.edition
        if edition is None:
            self._refuse(reading.problems[0])
        elif edition.hash == self.edition.hash:
            self.trouble = ""
        elif problem := await self._problem(edition, reading.changed_at):
            self._refuse(problem)
        else:
            self.edition, self.trouble = edition, ""
            log.info("edition.in_force", reportType=self._report_type, edition=edition.hash)
            if not kept:
                await self.keep()
        self.seen = reading

    def _refuse(self, problem: str) -> None:
        trouble = f"the files of {self._report_type} are not in force, edition {self.edition.hash} is: {problem}"
        if trouble != self.trouble:
            self.trouble = trouble
            log.error("edition.refused", reportType=self._report_type, edition=self.edition.hash, error=problem)

    async def _problem(self, edition: Edition, saved_at: float) -> str:
        """Return why an edition is worse than the one in force: half saved, or it can't render the sample that this one
        can. Empty if it is not.
        """
        problem, parameters = await self._reader.blocking(partial(self._compare, edition))
        if problem:
            # Saved again as it was: whoever saves it means it so.
            before, self._cut_off = self._cut_off, (edition.hash, saved_at)
            if before is None or before[0] != edition.hash or before[1] >= saved_at:
                return problem
        if parameters is None:
            return ""
        try:
            await self._reader.try_out(edition, parameters, self._context)
        except FaultError as error:
            problem = f"{self._report_type}.sample.json is not rendered: {error.fault.detail}"
        else:
            return ""
        try:
            await self._reader.try_out(self.edition, parameters, self._context)
        except FaultError:
            return ""  # the sample is out of date
        return problem

    def _compare(self, edition: Edition) -> tuple[str, dict[str, Any] | None]:
        """Return what of an edition is half saved, and the sample; None if there is none that can be used. Blocks."""
        places = samples(self._reader.folders, self.edition.template, self._report_type)
        try:
            value = orjson.loads(read_regular(next(path for path in places if path.is_file()))[0])
        except (StopIteration, OSError, ValueError):
            value = None
        return edition.half_saved(self.edition), value if isinstance(value, dict) else None

    async def keep(self) -> None:
        """Keep the edition in force for the next start."""
        store, edition = self._store, self.edition
        if store is None or edition.hash == self.kept:
            return
        try:
            await self._reader.blocking(partial(store.keep, self._report_type, edition))
            self.kept = edition.hash
        except (OSError, UnavailableError) as error:
            log.warning("edition.not_kept", reportType=self._report_type, error=str(error))
