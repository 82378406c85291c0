"""Worker processes: they answer like the same code in this process, and are killed when it takes too much."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

import reportd_web
from reportd.adapters.worker_processes import checker, processes
from reportd.adapters.worker_processes.checker import BoundedChecker, new_checker
from reportd.adapters.worker_processes.processes import BrokenWorkError, Processes
from reportd.concurrency.retrying import retry_while_unavailable
from reportd.config import Config, ReportType
from reportd.core.dead_letters.triage import RawLetter
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import BadMessageError, StoredJob, to_message
from reportd.core.jobs.submission import InvalidSubmissionError, NotJsonError
from reportd.core.pages.inert import Html
from reportd.ports import TooCostlyError, UnavailableError
from tests.broken_messages import GOOD, MESSAGES, text
from tests.daemon.node import USER, job
from tests.fakes.checking import catalogue_of, from_folder, inline_checker, report_types_of

REPORTS = Path(reportd_web.__file__).parent / "reports"
ROWS: list[dict[str, Any]] = [{}] * 340_000
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"

# Each level may be either of two that are the same, so a value that fits neither is tried 2 ** depth times.
EXPONENTIAL = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node"}]}},
            "additionalProperties": False,
        }
    },
    "properties": {"root": {"$ref": "#/$defs/node"}},
}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"wrong": 1}
    for _ in range(depth):
        value = {"next": value}
    return {"root": value}


Call = Callable[[BoundedChecker], Coroutine[Any, Any, object]]


@pytest.fixture
async def checking(tmp_path: Path) -> AsyncIterator[BoundedChecker]:
    async with checks(tmp_path) as made:
        yield made


class checks:  # noqa: N801 - used as a context manager
    """A checker with templates in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._made = new_checker([folder, REPORTS])

    async def __aenter__(self) -> BoundedChecker:
        return self._made

    async def __aexit__(self, *_: object) -> None:
        await self._made.aclose()


def children(pid: int | None = None) -> list[int]:
    """The living children of the first thread of a process; by default of this one."""
    pid = os.getpid() if pid is None else pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def told(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


async def outcome(call: Coroutine[Any, Any, object]) -> object:
    """The answer, or the error raised."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001 - it is looked at
        return type(error), str(error), getattr(error, "task_id", None), getattr(error, "problems", None)


async def test_answers_as_the_same_work_does_here(checking: BoundedChecker, tmp_path: Path) -> None:
    here = inline_checker([tmp_path, REPORTS])
    # To compile all built-in templates takes a third of a second.
    known = await trio.to_thread.run_sync(catalogue_of, Config(), [REPORTS], here)
    names, schemas = {"sales_summary": "sales_summary"}, known.schemas_text()
    schema = (REPORTS / "sales_summary.schema.json").read_bytes()
    parameters = GOOD["parameters"]
    bodies = [b"{", b"[]", b"{}", orjson.dumps({"reportType": "r", "parameters": {"a": "\0"}, "userId": USER})]
    bodies.append(orjson.dumps({"reportType": "r", "parameters": {"a": [1, "ü"]}, "userId": USER}))
    calls: list[Call] = [partial(BoundedChecker.submission, body=body) for body in bodies]
    messages = [message.body for message in MESSAGES]
    messages += [text(GOOD), orjson.dumps({"taskId": USER, "parametersStored": True}).decode()]
    calls += [partial(BoundedChecker.message, body=body) for body in messages]
    for body in messages:
        letter = RawLetter(body, 1e9, {"a": "b"})
        calls.append(partial(BoundedChecker.letter, letter=letter, names=names, schemas=schemas))
    tried: dict[str, Any]
    for tried in (parameters, {}, {"rows": [{}] * 30}):
        calls.append(partial(BoundedChecker.problems, schema=schema, parameters=tried))
    one = job(1, "sales_summary", **parameters)
    calls.append(partial(BoundedChecker.job, job=one, names=names, schemas=schemas))
    for name, values in (("sales_summary.html", parameters), ("sales_summary.html", {}), ("missing.html", {})):
        calls.append(partial(BoundedChecker.html, edition=from_folder(name), parameters=values, seconds=5.0))
    for header in ("{{ currency }}", "{{ nobody }}", "<script>", "missing.html"):
        calls.append(partial(BoundedChecker.print_template, name="h", text=header, parameters=parameters, seconds=5.0))
        calls.append(partial(BoundedChecker.template, name="h", text=header))
    kinds = set()
    for call in calls:
        found = await outcome(call(checking))
        assert found == await outcome(call(here))
        kinds.add(found[0] if isinstance(found, tuple) else type(found))
    assert kinds >= {NotJsonError, InvalidSubmissionError, BadMessageError, StoredJob, FaultError, Html, list}


async def test_one_process_answers_all(checking: BoundedChecker) -> None:
    before = set(children())
    for number in range(5):
        assert "<html" in (await checking.html(from_folder("sales_summary.html"), GOOD["parameters"], 5.0)).text
        assert await checking.message(to_message(job(number))) == job(number)
    assert len(set(children()) - before) == 1


async def test_the_first_one_is_there_before_a_job_and_the_next_one_after_a_kill(
    checking: BoundedChecker, tmp_path: Path
) -> None:
    before = set(children())
    checking.start()
    checking.start()
    (first,) = set(children()) - before
    assert await checking.message(to_message(job())) == job()
    assert set(children()) - before == {first}
    (tmp_path / "own.html").write_text(ENDLESS)
    with pytest.raises(FaultError, match="takes longer"):
        await checking.html(from_folder("own.html"), {}, 0.2)
    (second,) = set(children()) - before
    assert await checking.message(to_message(job())) == job()
    assert set(children()) - before == {second} != {first}


async def test_a_start_that_fails_is_told_when_it_is_needed(
    checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    checking.start()
    monkeypatch.undo()
    assert await checking.message(to_message(job())) == job()


@pytest.mark.parametrize("body", [ENDLESS, "{{ 'x' * 10 ** 9 }}"])
async def test_a_template_without_end_is_ended(checking: BoundedChecker, tmp_path: Path, body: str) -> None:
    (tmp_path / "own.html").write_text(body)
    before = set(children())
    with pytest.raises(FaultError, match=r"own.html.*(takes longer than 1 s|MemoryError)"):
        await checking.html(from_folder("own.html"), {}, 1.0)
    (tmp_path / "own.html").write_text("{{ a }}")
    assert (await checking.html(from_folder("own.html"), {"a": 1}, 5.0)).text == "1"
    assert len(set(children()) - before) == 1


async def test_a_page_without_measure_is_refused(checking: BoundedChecker, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ 'x' * 17000000 }}")
    with pytest.raises(FaultError, match=r"own\.html: makes a page of more than 16 MiB"):
        await checking.html(from_folder("own.html"), {}, 5.0)


async def test_a_schema_that_holds_itself_is_given_up(
    checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "CHECK_SECONDS", 1.0)
    schema = orjson.dumps(EXPONENTIAL)
    assert await checking.problems(schema, {"root": {"next": {}}}) == []
    begun = time.monotonic()
    with pytest.raises(TooCostlyError, match=r"takes longer than 1 s|needs more memory"):
        await checking.problems(schema, nested(30))
    assert time.monotonic() - begun < 5
    assert await checking.problems(schema, {"root": {}}) == []


async def test_what_needs_too_much_memory_is_given_up() -> None:
    """A million problems take gigabytes in the library, which ends its process when it gets no more memory."""
    small = Processes("tests", memory_mib=128)
    made = BoundedChecker(small, small, [])
    schema = orjson.dumps({"properties": {"rows": {"items": {"required": ["a", "b", "c"]}}}})
    try:
        with pytest.raises(TooCostlyError, match="needs more"):
            await made.problems(schema, {"rows": ROWS})
        assert await made.problems(schema, {"rows": [{}]})
    finally:
        await made.aclose()


async def test_a_size_that_is_exceeded_is_told_at_once(checking: BoundedChecker) -> None:
    for name, rows in (("sales_summary", "rows"), ("user_activity", "days")):
        schema = (REPORTS / f"{name}.schema.json").read_bytes()
        (problem,) = await checking.problems(schema, {rows: ROWS})
        assert problem.pointer == f"/parameters/{rows}"
        assert "has more than" in problem.detail
        assert len(problem.detail) <= 300


async def test_a_process_that_is_ended_from_outside_is_replaced(checking: BoundedChecker) -> None:
    before = set(children())
    assert await checking.message(to_message(job())) == job()
    (pid,) = set(children()) - before
    os.kill(pid, signal.SIGKILL)
    assert await checking.message(to_message(job())) == job()


async def test_a_process_that_gets_no_time_says_nothing_about_the_job(
    checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "CHECK_SECONDS", 0.2)
    before = set(children())
    assert await checking.problems(b"{}", {}) == []
    (pid,) = set(children()) - before
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match=r"work on jobs: .*0\.\d s of CPU time within 0\.6 s"):
        await checking.problems(b"{}", {"a": "b" * 2**20})  # more than fits into a pipe
    (pid,) = (await started(checking)) - before
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match=r"work on jobs: .*0\.\d s of CPU time within 0\.6 s"):
        await checking.problems(b"{}", {})
    assert await checking.problems(b'{"required": ["a"]}', {})


async def started(checking: BoundedChecker) -> set[int]:
    """The children, once the checker has a process again."""
    await checking.message(to_message(job()))
    return set(children())


async def test_a_job_whose_processes_others_end_is_done_later(checking: BoundedChecker, tmp_path: Path) -> None:
    """On memory shortage the kernel may kill any number of them, whatever the job is."""
    (tmp_path / "own.html").write_text(ENDLESS)
    before = set(children())
    refused: list[str] = []

    async def ask() -> None:
        with pytest.raises(UnavailableError) as caught:
            await checking.html(from_folder("own.html"), {}, 60.0)
        refused.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for _ in range(2):
            while not (busy := set(children()) - before):
                await trio.sleep(0.02)
            (pid,) = busy
            while float(told(pid, "schedstat").split()[0]) < 1e9:  # it has begun: that takes half a second
                await trio.sleep(0.02)
            os.kill(pid, signal.SIGKILL)
            before.add(pid)
    assert refused == ["work on jobs: the process has been ended twice (status -9)"]
    (tmp_path / "own.html").write_text("{{ a }}")
    assert (await retry_while_unavailable(lambda: checking.html(from_folder("own.html"), {"a": 1}, 5.0))).text == "1"


async def test_what_ends_its_process_by_a_bug_is_no_fault_of_the_job(checking: BoundedChecker) -> None:
    with pytest.raises(BrokenWorkError, match=r"work on jobs: the process has ended twice \(status 1\)"):
        await checking.problems(b"no schema", {})
    assert await checking.problems(b"{}", {}) == []


async def test_what_is_called_off_is_ended(checking: BoundedChecker, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text(ENDLESS)
    before = set(children())
    with trio.move_on_after(1.0):
        await checking.html(from_folder("own.html"), {}, 30.0)
    assert not set(children()) - before


async def test_what_takes_long_holds_up_nobody(checking: BoundedChecker, tmp_path: Path) -> None:
    (tmp_path / "slow.html").write_text(
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    )
    (tmp_path / "quick.html").write_text("quick")
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(checking.html, from_folder("slow.html"), {}, 60.0)
        await trio.sleep(0.1)
        with trio.fail_after(30.0):
            assert (await checking.html(from_folder("quick.html"), {}, 20.0)).text == "quick"
        nursery.cancel_scope.cancel()


async def test_one_type_holds_up_no_other(checking: BoundedChecker, tmp_path: Path) -> None:
    """However many of its templates never end: one of them counts as slow, the others wait for it."""
    (tmp_path / "endless.html").write_text(ENDLESS)
    (tmp_path / "other.html").write_text(ENDLESS)
    before = set(children())
    async with trio.open_nursery() as nursery:
        for name in ["endless.html"] * 6 + ["other.html"]:
            nursery.start_soon(checking.html, from_folder(name), {}, 60.0)
        await trio.sleep(processes.SLOW_SECONDS * 1.5)
        with trio.fail_after(10.0):  # three starts of a process at the worst, on a machine that is busy
            assert "<html" in (await checking.html(from_folder("sales_summary.html"), GOOD["parameters"], 60.0)).text
        assert len(set(children()) - before) == 3
        nursery.cancel_scope.cancel()


async def test_who_waits_for_one_of_its_own_is_next(checking: BoundedChecker, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text(ENDLESS)
    ends: list[object] = []

    async def ask() -> None:
        ends.append(await outcome(checking.html(from_folder("own.html"), {}, 1.0)))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(ends) == 3
    assert (await checking.message(to_message(job()))) == job()


async def test_too_many_of_one_type_do_not_wait(
    checking: BoundedChecker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MAX_WAITING", 2)
    (tmp_path / "own.html").write_text(ENDLESS)
    work: Any = checking._at_work
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(checking.html, from_folder("own.html"), {}, 60.0)
        while (slow := work._slow.get("own.html")) is None or slow.statistics().tasks_waiting < 2:
            await trio.sleep(0.02)
        with pytest.raises(UnavailableError, match="too many"):
            await checking.html(from_folder("own.html"), {}, 60.0)
        assert await checking.message(to_message(job())) == job()
        nursery.cancel_scope.cancel()


async def test_too_many_do_not_wait(monkeypatch: pytest.MonkeyPatch, checking: BoundedChecker) -> None:
    monkeypatch.setattr(processes, "MAX_WAITING", 2)
    refused = []

    async def ask() -> None:
        try:
            await checking.message(to_message(job()))
        except UnavailableError as error:
            refused.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    assert refused == ["work on jobs: too many tasks wait"] * 7


async def test_it_is_told_no_secret_and_ends_with_the_daemon(
    checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPORTD_CALLBACKS__SECRET", "whsec_secret")
    before = set(children())
    await checking.message(to_message(job()))
    (pid,) = set(children()) - before
    assert "secret" not in told(pid, "environ")
    assert os.getsid(pid) == pid  # Ctrl-C at the daemon's terminal does not reach it
    assert f"Max data size             {256 * 2**20}" in told(pid, "limits")


async def test_it_ends_with_a_daemon_that_is_killed_whatever_it_does(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text(ENDLESS)
    program = f"""
import pathlib, trio
from reportd.adapters.worker_processes.checker import new_checker
from reportd.core.pages.editions import Edition
trio.run(new_checker([pathlib.Path({str(tmp_path)!r})]).html, Edition.of("own.html", {{}}, {{}}), {{}}, 20.0)
"""
    daemon = subprocess.Popen([sys.executable, "-c", program])  # noqa: ASYNC220 - a moment
    with trio.fail_after(20.0):
        while not (found := children(daemon.pid)):
            await trio.sleep(0.05)
        while "python" not in told(found[0], "cmdline"):
            await trio.sleep(0.05)
        await trio.sleep(1.0)
        daemon.kill()
        daemon.wait()
        while Path(f"/proc/{found[0]}").exists() and "\nState:\tZ" not in told(found[0], "status"):  # noqa: ASYNC240
            await trio.sleep(0.05)


async def test_a_program_that_is_not_there_is_the_nodes_trouble(
    checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(UnavailableError, match="can't be started"):
        await checking.message(to_message(job()))
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(UnavailableError, match="has ended before it began"):
        await checking.message(to_message(job()))


async def test_a_pipe_too_many_leaves_none_open(checking: BoundedChecker, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = os.pipe
    made: list[tuple[int, int]] = []

    def scarce() -> tuple[int, int]:
        if made:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made.append(pipe())
        return made[0]

    await checking.message(to_message(job()))
    await checking.aclose()
    before = open_files()
    monkeypatch.setattr(os, "pipe", scarce)
    with pytest.raises(UnavailableError, match="can't be started: Too many open files"):
        await checking.message(to_message(job()))
    assert made
    assert open_files() == before


async def test_without_a_descriptor_it_answers_what_needs_none(checking: BoundedChecker, tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ a }}")
    before = set(children())
    await checking.message(to_message(job()))
    (pid,) = set(children()) - before
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, most))
    assert await checking.message(to_message(job())) == job()
    with pytest.raises(FaultError) as caught:
        await checking.html(from_folder("own.html"), {"a": 1}, 5.0)
    assert caught.value.fault.kind is FaultKind.OUT_OF_FILES
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
    assert (await checking.html(from_folder("own.html"), {"a": 1}, 5.0)).text == "1"
    assert set(children()) - before == {pid}


async def test_a_small_one_is_checked_at_once_and_a_large_one_is_not(tmp_path: Path) -> None:
    """So that small requests do not wait behind large ones."""
    here = inline_checker([REPORTS])
    report = ReportType(url="https://x/", parameters_schema="s.json")
    (tmp_path / "s.json").write_bytes(orjson.dumps({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}))
    types = catalogue_of(Config(reports={"report": report}), [tmp_path], here)
    door: Any = here._at_the_door
    assert await types.check_submission("report", {"a": "x" * 1000}) == []
    assert (await types.submission(orjson.dumps({"reportType": "report", "parameters": {}, "userId": USER}))).user_id
    assert door.asked == 0
    assert await types.check_submission("report", {"a": "x" * 10000}) == []
    large = {"reportType": "report", "parameters": {"a": "x" * 10000}, "userId": USER}
    assert (await types.submission(orjson.dumps(large))).parameters == large["parameters"]
    assert door.asked == 2
    (tmp_path / "s.json").write_bytes(orjson.dumps(EXPONENTIAL))
    types.exchange(report_types_of(Config(reports={"report": report}), [tmp_path]))
    assert await types.check_submission("report", {"root": {}}) == []
    assert door.asked == 3


async def test_a_question_there_is_no_memory_for_is_too_costly() -> None:
    small = Processes("tests", memory_mib=128)
    try:
        with pytest.raises(TooCostlyError, match="needs more memory"):
            await small.ask([b"{}", bytes(128 * 2**20)], 5.0)
    finally:
        await small.aclose()
