"""Reads dead letters and their jobs, and repairs them where that is possible.

A repair tries and checks many variants, so the ``Checker`` does it, whatever the size of the letter.
"""

from collections.abc import Callable, Mapping

from reportd.core.dead_letters.triage import LetterContent, RawLetter
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.ports import Checker, TooCostlyError


class LetterReader:
    """``names``: the report type for the normal form of each name and alias. ``schemas``: see ``Checker``."""

    def __init__(self, checker: Checker, names: Mapping[str, str], schemas: Callable[[], bytes]) -> None:
        self._checker = checker
        self._names = names
        self._schemas = schemas

    def reconfigure(self, names: Mapping[str, str]) -> None:
        """Use the names of another configuration."""
        self._names = names

    async def letter(self, letter: RawLetter) -> LetterContent:
        """Read the letter, repaired if necessary. May raise UnavailableError."""
        try:
            return await self._checker.letter(letter, self._names, self._schemas())
        except TooCostlyError as error:
            return await self._unrepaired(letter, f"can't be repaired: that {error}")

    async def job(self, job: Job) -> LetterContent:
        """Check whether the report type accepts the job, if necessary after a repair. May raise UnavailableError."""
        try:
            return await self._checker.job(job, self._names, self._schemas())
        except TooCostlyError as error:
            problem = error.of_parameters()
            return LetterContent(job, job.task_id, f"{problem.pointer}: {problem.detail}")

    async def _unrepaired(self, letter: RawLetter, problem: str) -> LetterContent:
        """Read a letter whose repair is too costly. Its job, if it names one, is given up with it."""
        try:
            content = await self._checker.message(letter.body)
        except BadMessageError as error:
            return LetterContent(problem=f"{error.fault.detail}; it {problem}")
        except TooCostlyError as error:
            return LetterContent(problem=f"the message can't be read: that {error}")
        if isinstance(content, StoredJob):
            return LetterContent(task_id=content.task_id)
        return LetterContent(content, content.task_id, f"it {problem}")
