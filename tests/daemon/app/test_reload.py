"""Reloading the configuration: what changes, and what stays when a file is wrong."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

import reportd_web
from reportd.app.checks import Checks
from reportd.app.reload import Reload, ReloadRequests
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config, Loaded, load_from
from reportd.config.report_types import BUILT_IN
from reportd.intake.tokens import Tokens, new_token
from reportd.ports import TooCostlyError, UnavailableError
from reportd.system.regular_files import MAX_BYTES
from tests.fakes.checking import catalogue_of, inline_checker
from tests.render_keys import a_key
from tests.wording import mentions

TYPES = """
[reports.one]
url = "https://one.internal/"
[reports.two]
template = "two.html"
max_concurrency = 1
"""

KEYS = '[render_tokens]\nkeys = [{{kid = "{kid}", algorithm = "HS256", key = "{key}"}}]\n'


class Files:
    """The folder of a configuration, and the parts of a daemon made from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "reportd.toml"
        self.tokens_file = folder / "tokens"
        (folder / "two.html").write_text("<p>two")
        self.secret = self.admit("first")
        self.configure(TYPES)
        config = self.read()
        folders = [folder, Path(reportd_web.__file__).parent / "reports"]
        self.checker = inline_checker(folders)
        self.types = catalogue_of(config, folders, self.checker)
        self.checks = Checks(folders, self.checker)
        self.tokens = Tokens(config.auth.path(config.data_dir))
        self.level = config.log.level
        self.learnt: list[Config] = []
        self.supervisor = Supervisor()
        self.order, given = trio.open_memory_channel[None](1)
        orders = ReloadRequests(given, self.load, self._set_level)
        self.reload = Reload(orders, config, self.types, self.checks, self.tokens, self.learnt.append, self.supervisor)

    def admit(self, name: str) -> str:
        secret, line = new_token(name, "read")
        self.tokens_file.write_text(line + "\n")
        self.tokens_file.chmod(0o600)
        return secret

    def configure(self, text: str) -> None:
        self.file.write_text(f'data_dir = "{self.folder}"\n{text}\n[auth]\ntokens_file = "{self.tokens_file}"\n')

    def read(self) -> Config:
        return self.load().config

    def load(self) -> Loaded:
        return load_from(self.file, {"HOME": "/nowhere"})

    def _set_level(self, level: str) -> None:
        self.level = level  # type: ignore[assignment]  # what Config says it is

    def knows(self, secret: str) -> bool:
        return self.tokens.find(secret.encode()) is not None


@pytest.fixture
async def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_new_report_types_a_level_and_tokens(files: Files) -> None:
    files.configure(TYPES.replace("reports.one", "reports.three") + '[log]\nlevel = "debug"\n')
    second = files.admit("second")
    await files.reload.reload()
    assert files.reload.trouble == ""
    assert set(files.types.names) == {"three", "two", *BUILT_IN}
    assert files.level == "debug"
    assert (files.knows(second), files.knows(files.secret)) == (True, False)
    assert [set(config.reports) for config in files.learnt] == [set(files.types.names)]


async def test_other_keys_of_render_tokens_need_no_restart(files: Files) -> None:
    for kid in ("one", "two"):
        key = a_key(kid, "HS256")
        files.configure(
            KEYS.format(kid=kid, key=key.text) + TYPES.replace("[reports.two]", "token = true\n[reports.two]")
        )
        await files.reload.reload()
        assert files.reload.trouble == ""
        assert files.learnt[-1].render_tokens.parsed() == (key,)


def replaced(path: Path) -> Path:
    """Remove the file or folder, so that another one can take its place."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    return path


def with_fifo_as_schema(files: "Files") -> None:
    os.mkfifo(files.folder / "schema.json")
    files.configure(TYPES + 'parameters_schema = "schema.json"\n')


@pytest.fixture(autouse=True)
def shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder of this name unreadable, even to root."""
    is_file = Path.is_file

    def look(path: Path) -> bool:
        if path.parent.name == "shut":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", look)


def with_header_from(files: "Files", name: str, text: str, mode: int = 0o600) -> None:
    """Configure a report type whose header is in a file."""
    (files.folder / name).write_text(text)
    (files.folder / name).chmod(mode)
    files.configure(TYPES.replace("[reports.two]", f'headers.Authorization = {{file = "{name}"}}\n[reports.two]'))


BROKEN: dict[str, tuple[Callable[[Files], object], str]] = {
    "no TOML": (lambda files: files.file.write_text("[reports"), "is not TOML"),
    "an unknown key": (lambda files: files.configure(TYPES + "tmeout_seconds = 3"), ".timeout_seconds?"),
    "gone": (lambda files: files.file.unlink(), "can't be read"),
    "a folder": (lambda files: replaced(files.file).mkdir(), "Is a directory"),
    "a FIFO": (lambda files: os.mkfifo(replaced(files.file)), "regular file"),
    "without an end": (lambda files: replaced(files.file).symlink_to("/dev/zero"), "regular file"),
    "huge": (lambda files: files.file.write_bytes(b"#" * (MAX_BYTES + 1)), "8 MiB"),
    "no UTF-8": (lambda files: files.file.write_bytes(b"\xff"), "is not UTF-8"),
    "a link to itself": (lambda files: replaced(files.file).symlink_to(files.file), "can't be read"),
    "a long name": (
        lambda files: files.configure(TYPES.replace("two.html", "x" * 300)),
        "File name too long",
    ),
    "a closed folder": (
        lambda files: files.configure(TYPES.replace("two.html", "shut/two.html")),
        "Permission denied",
    ),
    "a schema that is a FIFO": (with_fifo_as_schema, "reports.two.parameters_schema: "),
    "a template that is a folder": (
        lambda files: replaced(files.folder / "two.html").mkdir(),
        "reports.two.template: ",
    ),
    "no template": (lambda files: (files.folder / "two.html").unlink(), "reports.two.template: "),
    "a bad template": (lambda files: (files.folder / "two.html").write_text("{% if %}"), "reports.two.template: two"),
    "a queue": (
        lambda files: files.configure(
            TYPES.replace("[reports.two]", 'queue_url = "http://sqs.internal/1/own"\n[reports.two]')
            + '[queue]\nurl = "http://sqs.internal/1/jobs"\ndead_letter_url = "http://sqs.internal/1/dead"\n'
        ),
        "reports.one.queue_url: ",
    ),
    "a secret that is empty": (lambda files: with_header_from(files, "token", "\n"), "token is empty"),
    "a bad key of render tokens": (
        lambda files: files.configure(f"{KEYS.format(kid='a', key='QUJD')}{TYPES}"),
        "render_tokens.keys: entry 1 (a) has a key that is shorter than 32 bytes",
    ),
    "a token without a key": (
        lambda files: files.configure(TYPES.replace("[reports.two]", "token = true\n[reports.two]")),
        "reports.one.token: has no key",
    ),
    "a first container": (
        lambda files: files.configure(TYPES + 'isolation = "container"\n'),
        "reports.two.isolation: ",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_bad_file_changes_nothing_and_is_told(files: Files, how: str) -> None:
    spoil, expected = BROKEN[how]
    names, entry = files.types.names, files.types.schemas()
    spoil(files)
    with capture_logs() as captured:
        await files.reload.reload()
    assert expected in files.reload.trouble
    (kept,) = [line for line in captured if line["event"] == "config.kept"]
    assert (kept["log_level"], expected in kept["error"]) == ("error", True)
    assert files.types.names == names
    assert files.types.schemas() is entry
    assert files.learnt == []
    (trouble,) = files.supervisor.troubles()
    assert (trouble.part, trouble.error) == ("reload", files.reload.trouble)
    # A repaired file ends the trouble.
    for path in (files.file, files.folder / "two.html"):
        replaced(path)
    files.configure(TYPES)
    (files.folder / "two.html").write_text("<p>two")
    await files.reload.reload()
    assert files.reload.trouble == ""
    assert files.supervisor.troubles() == ()


@pytest.mark.parametrize("kind", ["nonsense", "folder", "fifo", "gone"])
async def test_bad_tokens_stay_but_report_types_change(files: Files, kind: str) -> None:
    if kind == "nonsense":
        files.tokens_file.write_text("nonsense\n")
    else:
        replaced(files.tokens_file)
    if kind == "folder":
        files.tokens_file.mkdir()
    elif kind == "fifo":
        os.mkfifo(files.tokens_file)
    files.configure(TYPES.replace("reports.one", "reports.three"))
    await files.reload.reload()
    assert mentions(files.reload.trouble, "previous tokens")
    assert "configuration" not in files.reload.trouble
    assert files.knows(files.secret)
    assert "three" in files.types.names


async def test_a_bad_configuration_keeps_no_token_alive(files: Files) -> None:
    files.file.write_text("[reports")
    files.admit("second")
    await files.reload.reload()
    assert not files.knows(files.secret)


async def test_the_files_of_secrets_are_read_again(files: Files) -> None:
    for text in ("hunter2\n", "hunter3\n"):
        with_header_from(files, "token", text)
        await files.reload.reload()
        assert files.reload.trouble == ""
        assert files.learnt[-1].reports["one"].headers == {"Authorization": text.strip()}


async def test_a_secret_that_others_can_read_is_told_without_its_content(files: Files) -> None:
    with_header_from(files, "token", "hunter2", mode=0o644)
    with capture_logs() as captured:
        await files.reload.reload()
    assert files.reload.trouble == ""
    (line,) = [line for line in captured if line["event"] == "config.secret_exposed"]
    assert (line["key"], line["file"]) == ("reports.one.headers.Authorization", str(files.folder / "token"))
    assert "hunter2" not in str(captured)


async def test_what_needs_a_restart_is_named_for_as_long_as_it_does(files: Files) -> None:
    files.configure(TYPES + "[pool]\nbrowsers = 7\nmax_stalled = 3\n[shutdown]\ndrain_seconds = 3\n")
    with capture_logs() as captured:
        await files.reload.reload()
        await files.reload.reload()
    assert mentions(files.reload.trouble, "restart", "pool.browsers, pool.max_stalled, shutdown.drain_seconds")
    assert [line["event"] for line in captured].count("config.needs_restart") == 2
    assert files.learnt[-1].pool.browsers == 0
    files.configure(TYPES)
    await files.reload.reload()
    assert files.reload.trouble == ""


async def test_a_fault_that_nobody_foresaw_changes_nothing_and_is_told(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(files.checks, "read", fail)
    monkeypatch.setattr(files.tokens, "read", fail)
    await files.reload.reload()
    assert mentions(files.reload.trouble, "previous tokens", "previous configuration", "ZeroDivisionError: by nothing")
    assert files.knows(files.secret)


async def test_a_file_system_that_does_not_answer_holds_up_nobody(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It delays neither the daemon's end nor the tokens, and it takes one thread at most."""
    answers, waiting = threading.Event(), []

    def hang(*_: object) -> None:
        waiting.append(threading.current_thread())
        answers.wait()

    monkeypatch.setattr(files.checks, "read", hang)
    try:
        with trio.move_on_after(0.5) as scope:
            await files.reload.reload()
        assert scope.cancelled_caught, "it hangs"
        monkeypatch.setattr("reportd.app.reload.READ_SECONDS", 0.2)
        second = files.admit("second")
        for _ in range(3):
            await files.reload.reload()
            assert mentions(files.reload.trouble, "within 0.2 s")
        assert files.knows(second)
        assert len(waiting) == 1
    finally:
        answers.set()
        waiting[0].join(0)


async def test_systemd_is_told_when_it_begins_and_when_it_is_done(
    files: Files, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("reportd.system.sd_notify.notify", lambda *lines: told.extend(lines))
    nursery.start_soon(files.reload.run)
    for count in (1, 2):
        files.order.send_nowait(None)
        with trio.fail_after(10):
            while len(told) < 3 * count:
                await trio.sleep(0.01)
    assert told[0] == told[3] == "RELOADING=1"
    assert told[2] == told[5] == "READY=1"
    # By this stamp systemd tells its own order from an earlier one.
    stamps = [int(told[index].removeprefix("MONOTONIC_USEC=")) for index in (1, 4)]
    assert 0 < stamps[0] < stamps[1]
    assert len(files.learnt) == 2
    nursery.cancel_scope.cancel()


async def test_what_is_large_is_judged_by_another_process(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template of 200,000 lines takes seconds and gigabytes to be compiled."""

    def never(*_: object) -> None:
        raise AssertionError("it is compiled here")

    monkeypatch.setattr("reportd.intake.report_types.faults", never)
    processes: Any = files.checker._at_work
    files.configure(TYPES + 'parameters_schema = "two.json"\n')
    (files.folder / "two.json").write_text("{}")
    processes.fault = TooCostlyError("needs more memory than there is for it")
    await files.reload.reload()
    assert mentions(files.reload.trouble, "previous configuration", f"{2 * len(BUILT_IN) + 1} more")
    processes.fault = UnavailableError("work on jobs", "too many tasks wait")
    await files.reload.reload()
    assert "too many tasks wait" in files.reload.trouble
    processes.fault, processes.asked = None, 0
    await files.reload.reload()
    assert files.reload.trouble == ""
    # The shipped templates and what they are made of, the shipped schemas, and the two of this test.
    assert processes.asked > 2 * len(BUILT_IN) + 2
