"""The checker without a process of its own: the same tasks, done where they are asked for."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import trio

from reportd.adapters.templates.templates import Templates
from reportd.adapters.worker_processes import tasks
from reportd.adapters.worker_processes.checker import BoundedChecker
from reportd.adapters.worker_processes.frames import Frame
from reportd.adapters.worker_processes.processes import Processes
from reportd.config import Config, ConfigError
from reportd.core.dead_letters.triage import LetterContent, RawLetter, read, read_job
from reportd.core.jobs.job import Job
from reportd.core.pages.editions import Edition
from reportd.core.repair.message import Known
from reportd.intake.catalogue import Catalogue
from reportd.intake.loaded_types import ReportTypes
from reportd.intake.report_types import ReportTypesReader


class InlineProcesses(Processes):
    """``asked`` counts the questions; ``fault``: what they raise instead of an answer."""

    def __init__(self) -> None:
        super().__init__("nothing")
        self.asked = 0
        self.fault: Exception | None = None

    async def ask(self, parts: Sequence[bytes], seconds: float, kind: Hashable = None) -> Frame:
        del seconds, kind
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        one, two, three = (*parts, b"", b"")[:3]
        return tasks.answer((one, two, three))


def inline_checker(folders: Sequence[Path] = ()) -> BoundedChecker:
    return BoundedChecker(InlineProcesses(), InlineProcesses(), folders)


def from_folder(template: str) -> Edition:
    """An edition without texts of its own: the template is read from the folders of the checker."""
    return Edition.of(template, {}, {})


class InlineReader:
    """Reads letters for the triage."""

    def __init__(self, known: Known) -> None:
        self._known = known

    async def letter(self, letter: RawLetter) -> LetterContent:
        return read(letter, self._known)

    async def job(self, job: Job) -> LetterContent:
        return read_job(job, self._known)


def catalogue_of(config: Config, folders: Sequence[Path], checker: BoundedChecker | None = None) -> Catalogue:
    """The report types of a configuration. Raises ConfigError."""
    checker = checker or inline_checker(folders)
    return Catalogue(report_types_of(config, folders, checker), checker, config.callbacks.allowed_hosts)


def report_types_of(config: Config, folders: Sequence[Path], checker: BoundedChecker | None = None) -> ReportTypes:
    """Every file is judged here, whatever its size."""
    reader = ReportTypesReader(folders, Templates(folders), checker or inline_checker(folders))
    draft = reader.draft(config, inline_bytes=2**30)
    if draft.problems:
        raise ConfigError(draft.problems)
    return draft.types()
