"""Dead letters whose repair is too costly: the daemon stops trying, and the job ends with its letter."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import orjson
import pytest

from reportd.adapters.worker_processes.checker import BoundedChecker
from reportd.adapters.worker_processes.frames import Frame
from reportd.core.dead_letters.triage import LetterContent, RawLetter
from reportd.core.jobs.options import JobOptions
from reportd.dead_letters.reader import LetterReader
from reportd.ports import TooCostlyError
from tests.daemon.node import USER, job, message_of
from tests.fakes.checking import InlineProcesses, inline_checker
from tests.fakes.rendering import FakeTypes
from tests.wording import mentions


class Costly(InlineProcesses):
    """``tasks``: those that take too long."""

    def __init__(self, *tasks: str) -> None:
        super().__init__()
        self._tasks = tasks

    async def ask(self, parts: Sequence[bytes], seconds: float, kind: Hashable = None) -> Frame:
        if orjson.loads(parts[0])["task"] in self._tasks:
            raise TooCostlyError("takes longer than 4 s")
        return await super().ask(parts, seconds, kind)


def costly_reader(*tasks: str) -> LetterReader:
    made = Costly(*tasks)
    return reader(BoundedChecker(made, made, []))


def reader(checker: BoundedChecker) -> LetterReader:
    return LetterReader(
        checker, {"report": "report"}, lambda: b'{"report": {"required": ["a"]}}', FakeTypes().check_options
    )


async def test_a_letter_is_read_by_the_types_there_are() -> None:
    one = job(1, "Report", a=1)
    reading = await reader(inline_checker()).letter(RawLetter(message_of(one).body, 0.0))
    assert reading.job is not None
    assert reading.job.report_type == "report"
    assert [change.where for change in reading.changes] == ["/reportType"]
    reading = await reader(inline_checker()).job(job(1))
    assert reading.problem == '/parameters: "a" is a required property'


async def test_an_option_that_the_type_does_not_allow_is_a_problem_that_no_repair_solves() -> None:
    one = replace(job(1, "Report", a=1), options=JobOptions(pdf={"scale": 2}))
    reading = await reader(inline_checker()).letter(RawLetter(message_of(one).body, 0.0))
    repaired = replace(one, report_type="report")
    assert reading == LetterContent(repaired, one.task_id, "/pdf/scale: is not allowed")
    assert await reader(inline_checker()).job(repaired) == reading
    fine = replace(repaired, options=JobOptions(locale="de"))
    assert await reader(inline_checker()).job(fine) == LetterContent(fine, one.task_id)


async def test_what_is_too_costly_to_repair_ends_with_its_job() -> None:
    one = job()
    costly = costly_reader("letter", "job")
    reading = await costly.letter(RawLetter(message_of(one).body, 0.0))
    assert (reading.job, reading.task_id) == (one, one.task_id)
    assert mentions(reading.problem, "repaired", "takes longer than 4 s")
    stored = orjson.dumps({"taskId": USER, "parametersStored": True}).decode()
    assert await costly.letter(RawLetter(stored, 0.0)) == LetterContent(task_id=USER)
    reading = await costly.job(one)
    assert (reading.job, reading.task_id) == (one, one.task_id)
    assert mentions(reading.problem, "/parameters: ", "takes longer than 4 s")


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        (["letter"], "taskId must be a UUID; it can't be repaired: that takes longer than 4 s"),
        (["letter", "message"], "the message can't be read: that takes longer than 4 s"),
    ],
)
async def test_what_names_no_job_is_told_as_it_is(tasks: list[str], problem: str) -> None:
    assert await costly_reader(*tasks).letter(RawLetter("{}", 0.0)) == LetterContent(problem=problem)
