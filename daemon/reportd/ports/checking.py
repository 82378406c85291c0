"""Work on what others send, whose cost nobody knows beforehand: bounded in time and memory, it holds up nobody."""

from collections.abc import Mapping
from typing import Any, Protocol

from reportd.core.dead_letters.triage import RawLetter, Reading
from reportd.core.jobs.job import Job, StoredJob
from reportd.core.jobs.submission import FieldProblem, Submission
from reportd.core.pages.inert import Html

INLINE_BYTES = 8192
"""JSON up to here is parsed where it is needed: at the worst 1 ms for its parser, and 4 ms to walk through it."""


class TooCostlyError(Exception):
    """The work was given up. The text is a predicate that says what it needs: ``takes longer than 3 s``."""

    def of_parameters(self) -> FieldProblem:
        """What is wrong with parameters that were to be checked."""
        return FieldProblem("/parameters", f"are too costly to check: that {self}")


class Checker(Protocol):
    """Does not look at the size of what it is given: what is small may be done without it.

    Each call may raise TooCostlyError, which is the fault of what was asked; UnavailableError when too many wait for
    their turn or the node has no time for it; and any other exception, which is a bug.
    """

    async def submission(self, body: bytes) -> Submission:
        """As ``core.jobs.submission.parse``, with its errors."""
        ...

    async def message(self, body: str) -> Job | StoredJob:
        """As ``core.jobs.job.from_message``, with its error."""
        ...

    async def problems(
        self, schema: bytes, parameters: Mapping[str, Any], *, at_the_door: bool = False
    ) -> list[FieldProblem]:
        """What is wrong with the parameters of a job by a JSON Schema: the first 20, which point into the job.

        ``at_the_door``: of one that is being submitted. Those have their own line, as ``submission`` has.
        """
        ...

    async def letter(self, letter: RawLetter, names: Mapping[str, str], schemas: bytes) -> Reading:
        """As ``core.dead_letters.triage.read``. ``schemas``: a JSON object of report type name to schema or null."""
        ...

    async def job(self, job: Job, names: Mapping[str, str], schemas: bytes) -> Reading:
        """As ``core.dead_letters.triage.read_job``."""
        ...

    async def html(self, template: str, parameters: Mapping[str, Any], seconds: float) -> Html:
        """The page that a template makes. Raises FaultError."""
        ...

    async def template(self, template: str) -> None:
        """Compile it, and all it refers to. Raises FaultError when it can't be used."""
        ...

    async def schema(self, schema: bytes) -> tuple[list[str], float]:
        """What is wrong with a JSON Schema, and how much of a processor's time it takes to know."""
        ...
