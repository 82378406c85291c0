"""Checks of untrusted input, whose cost is unknown beforehand. They are bounded in time and memory."""

from collections.abc import Mapping
from typing import Any, Protocol

from reportd.core.dead_letters.triage import LetterContent, RawLetter
from reportd.core.jobs.job import Job, StoredJob
from reportd.core.jobs.submission import FieldProblem, Submission
from reportd.core.pages.editions import Edition
from reportd.core.pages.inert import Html
from reportd.core.pages.references import TemplateParts
from reportd.core.pages.template_context import NO_CONTEXT, TemplateContext

INLINE_BYTES = 8192
"""JSON up to this size is parsed in place: at worst 1 ms for the parser, and 4 ms to walk the result."""


class TooCostlyError(Exception):
    """The work was given up. The text is a predicate, e.g. ``takes longer than 3 s``."""

    def of_parameters(self) -> FieldProblem:
        """Return the problem of parameters that are too costly to check."""
        return FieldProblem("/parameters", f"are too costly to check: that {self}")


class Checker(Protocol):
    """Bounded checks. The size of an input is not looked at: callers may handle small inputs without a Checker.

    Each call may raise TooCostlyError, which is the input's fault, or UnavailableError when too many calls wait or the
    node is too busy. Any other exception is a bug.
    """

    async def submission(self, body: bytes) -> Submission:
        """Run ``core.jobs.submission.parse``; same errors."""
        ...

    async def message(self, body: str) -> Job | StoredJob:
        """Run ``core.jobs.job.from_message``; same error."""
        ...

    async def problems(
        self, schema: bytes, parameters: Mapping[str, Any], *, at_the_door: bool = False
    ) -> list[FieldProblem]:
        """Return the first 20 problems of a job's parameters by a JSON Schema, with pointers into the job.

        ``at_the_door``: the job is being submitted. Submissions have a queue of their own, as in ``submission``.
        """
        ...

    async def letter(self, letter: RawLetter, names: Mapping[str, str], schemas: bytes) -> LetterContent:
        """Run ``core.dead_letters.triage.read``. ``schemas``: a JSON object of report type name to schema or null."""
        ...

    async def job(self, job: Job, names: Mapping[str, str], schemas: bytes) -> LetterContent:
        """Run ``core.dead_letters.triage.read_job``."""
        ...

    async def html(
        self, edition: Edition, parameters: Mapping[str, Any], seconds: float, context: TemplateContext = NO_CONTEXT
    ) -> Html:
        """Return the page that a template renders of the parameters and of what it is told of the job.

        Raises FaultError.
        """
        ...

    async def print_template(
        self,
        name: str,
        text: str,
        parameters: Mapping[str, Any],
        seconds: float,
        context: TemplateContext = NO_CONTEXT,
    ) -> str:
        """Return the HTML of a header or footer that is a template; ``name`` is what faults call it.

        Raises FaultError, also for HTML that Chromium can't print there.
        """
        ...

    async def template(self, name: str, text: str) -> None:
        """Compile the text of a template, and all templates it refers to; ``name`` is what faults call it.

        Raises FaultError when it can't be used.
        """
        ...

    async def inspect(self, name: str, source: str) -> TemplateParts:
        """Compile the text of a template. Return what it is made of. Raises FaultError when it can't be used."""
        ...

    async def sheet(self, name: str, source: str) -> TemplateParts:
        """Return what the text of a style sheet asks for. Raises FaultError when that takes too long."""
        ...

    async def schema(self, schema: bytes) -> tuple[list[str], float]:
        """Return what is wrong with a JSON Schema, and the processor time in seconds that the check took."""
        ...
