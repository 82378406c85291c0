"""Reads dead letters and their jobs, and repairs them where that is possible.

A repair tries and checks many variants, so the ``Checker`` does it, whatever the size of the letter.
"""

from collections.abc import Callable, Mapping, Sequence

from reportd.core.dead_letters.triage import LetterContent, RawLetter
from reportd.core.jobs.job import BadMessageError, Job, StoredJob
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import Checker, TooCostlyError


class LetterReader:
    """``names``: the report type for the normal form of each name and alias. ``schemas``: see ``Checker``.

    ``check_options``: what is wrong with a job's options, which no repair changes.
    """

    def __init__(
        self,
        checker: Checker,
        names: Mapping[str, str],
        schemas: Callable[[], bytes],
        check_options: Callable[[str, JobOptions], Sequence[FieldProblem]],
    ) -> None:
        self._checker = checker
        self._names = names
        self._schemas = schemas
        self._check_options = check_options

    def reconfigure(self, names: Mapping[str, str]) -> None:
        """Use the names of another configuration."""
        self._names = names

    async def letter(self, letter: RawLetter) -> LetterContent:
        """Read the letter, repaired if necessary. May raise UnavailableError."""
        try:
            return self._judged(await self._checker.letter(letter, self._names, self._schemas()))
        except TooCostlyError as error:
            return await self._unrepaired(letter, f"can't be repaired: that {error}")

    async def job(self, job: Job) -> LetterContent:
        """Check whether the report type accepts the job, if necessary after a repair. May raise UnavailableError."""
        try:
            return self._judged(await self._checker.job(job, self._names, self._schemas()))
        except TooCostlyError as error:
            problem = error.of_parameters()
            return LetterContent(job, job.task_id, f"{problem.pointer}: {problem.detail}")

    def _judged(self, content: LetterContent) -> LetterContent:
        """Add the problems of the job's options; with one, a repair of the rest is in vain."""
        job = content.job
        problems = self._check_options(job.report_type, job.options) if job is not None else ()
        if not problems:
            return content
        return LetterContent(job, content.task_id, "; ".join(f"{p.pointer}: {p.detail}" for p in problems))

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
