"""The edition of a template that is in force.

Its files are looked at each time a job uses it. A changed edition is checked before it is put in force; a faulty one is
refused, and the one before stays.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from posixpath import dirname
from types import MappingProxyType

import orjson
import structlog
import trio

from reportd.core.faults import FaultError
from reportd.core.pages.editions import Edition
from reportd.intake.edition_files import Reading, signature
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

    ``seen`` and ``sample_seen``: the files as they were when they were judged. ``kept``: the hash that the store has.

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
        self.sample_seen = signature(self._sample_path())
        self._taking: trio.Event | None = None
        self._not_before = 0.0

    def go_on_from(self, before: "LiveEdition") -> None:
        """Keep what another object had in force: a reload checks less than a change of the files does."""
        if before.edition.template == self.edition.template and before.edition.hash != self.edition.hash:
            self.edition, self.trouble = before.edition, before.trouble
            self.seen, self.sample_seen = before.seen, before.sample_seen
        self.kept = before.kept

    def assets(self, edition: Edition) -> EditionAssets:
        """Return the files of an edition as a page asks for them."""
        return EditionAssets(edition, self._reader)

    async def current(self) -> Edition:
        """Return the edition in force, after a look at the files. It takes a tenth of a millisecond if none changed."""
        for _ in range(2):
            if self._clock() < self._not_before or await self._is_current():
                break
            if self._taking is not None:
                await self._taking.wait()
                continue
            self._taking = trio.Event()
            try:
                await self._take()
            finally:
                self._taking.set()
                self._taking = None
        return self.edition

    async def _is_current(self) -> bool:
        def look() -> bool:
            return signature(self._sample_path()) == self.sample_seen and self.seen.is_current()

        try:
            return await self._reader.blocking(look, LOOK_SECONDS)
        except UnavailableError as error:
            log.warning("edition.not_looked_at", reportType=self._report_type, error=str(error))
            return True

    async def _take(self) -> None:
        """Put the files in force, if they are sound and nobody is writing them."""
        try:
            for _ in range(SETTLE_TRIES):
                reading = await self._reader.read(self.edition.template)
                if reading.edition is not None and reading.edition.hash == self.edition.hash:
                    break
                if reading.edition is not None and reading.edition.may_go_on(self.edition):
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
        sample_seen = signature(self._sample_path())
        edition = reading.edition
        if edition is None:
            self._refuse(reading.problems[0])
        elif edition.hash == self.edition.hash:
            self.trouble = ""
        elif problem := edition.half_saved(self.edition) or await self._sample_problem(edition):
            self._refuse(problem)
        else:
            self.edition, self.trouble = edition, ""
            log.info("edition.in_force", reportType=self._report_type, edition=edition.hash)
            if not kept:
                await self.keep()
        self.seen, self.sample_seen = reading, sample_seen

    def _refuse(self, problem: str) -> None:
        trouble = f"the files of {self._report_type} are not in force, edition {self.edition.hash} is: {problem}"
        if trouble != self.trouble:
            self.trouble = trouble
            log.error("edition.refused", reportType=self._report_type, edition=self.edition.hash, error=problem)

    async def _sample_problem(self, edition: Edition) -> str:
        """Return why an edition can't render the sample that the one in force can; empty if it can."""
        path = self._sample_path()
        try:
            parameters = orjson.loads((await self._reader.blocking(partial(read_regular, path)))[0])
        except (OSError, ValueError):
            return ""
        if not isinstance(parameters, dict):
            return ""
        try:
            await self._reader.try_out(edition, parameters, self._context)
        except FaultError as error:
            problem = f"{path.name} is not rendered: {error.fault.detail}"
        else:
            return ""
        try:
            await self._reader.try_out(self.edition, parameters, self._context)
        except FaultError:
            return ""  # the sample is out of date
        return problem

    def _sample_path(self) -> Path:
        name = f"{self._report_type}.sample.json"
        paths = [folder / dirname(self.edition.template) / name for folder in self._reader.folders]
        return next((path for path in paths if path.is_file()), paths[0])

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
