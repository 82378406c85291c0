"""Reads dead letters, and the jobs they are about: what they say, and what can be repaired in them.

Repairing tries and checks many times over, so it is done by the ``Checker``, whatever the size.
"""

from collections.abc import Callable, Mapping

from reportd.core.dead_letters.triage import RawLetter, Reading
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.ports import Checker, TooCostlyError


class LetterReader:
    """``names``: each name of a report type in its normal form, and the type it means. ``schemas``: see ``Checker``."""

    def __init__(self, checker: Checker, names: Mapping[str, str], schemas: Callable[[], bytes]) -> None:
        self._checker = checker
        self._names = names
        self._schemas = schemas

    def reconfigure(self, names: Mapping[str, str]) -> None:
        """Use the names of another configuration."""
        self._names = names

    async def letter(self, letter: RawLetter) -> Reading:
        """What the letter says, repaired where need be. May raise UnavailableError."""
        try:
            return await self._checker.letter(letter, self._names, self._schemas())
        except TooCostlyError as error:
            return await self._unrepaired(letter, f"can't be repaired: that {error}")

    async def job(self, job: Job) -> Reading:
        """Whether its report type accepts it, or would with a repair. May raise UnavailableError."""
        try:
            return await self._checker.job(job, self._names, self._schemas())
        except TooCostlyError as error:
            problem = error.of_parameters()
            return Reading(job, job.task_id, f"{problem.pointer}: {problem.detail}")

    async def _unrepaired(self, letter: RawLetter, problem: str) -> Reading:
        """The job it is about is given up with it, where it names one."""
        try:
            carried = await self._checker.message(letter.body)
        except BadMessageError as error:
            return Reading(problem=f"{error.fault.detail}; it {problem}")
        except TooCostlyError as error:
            return Reading(problem=f"the message can't be read: that {error}")
        if isinstance(carried, StoredJob):
            return Reading(task_id=carried.task_id)
        return Reading(carried, carried.task_id, f"it {problem}")
