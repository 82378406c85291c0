"""Reading the configuration again: what counts from then on, and what stays when a file is wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

import reportd_web
from reportd.adapters.templates import Templates
from reportd.catalogue import Catalogue
from reportd.config import Config, load
from reportd.reload import Orders, Reload
from reportd.tokens import Tokens, new_token
from tests.fakes.checking import inline_checker

TYPES = """
[reports.one]
url = "https://one.internal/"
[reports.two]
template = "two.html"
max_concurrency = 1
"""


class Files:
    """A configuration's folder, and a daemon's parts that were made from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "reportd.toml"
        self.tokens_file = folder / "tokens"
        (folder / "two.html").write_text("<p>two")
        self.secret = self.admit("first")
        self.configure(TYPES)
        config = self.read()
        folders = [folder, Path(reportd_web.__file__).parent / "reports"]
        self.types = Catalogue(config, folders, Templates(folders), inline_checker(folders))
        self.tokens = Tokens(config.auth.path(config.data_dir))
        self.level = config.log.level
        self.learnt: list[Config] = []
        self.order, given = trio.open_memory_channel[None](1)
        orders = Orders(given, self.read, self._set_level)
        self.reload = Reload(orders, config, self.types, self.tokens, self.learnt.append)

    def admit(self, name: str) -> str:
        secret, line = new_token(name, "read")
        self.tokens_file.write_text(line + "\n")
        self.tokens_file.chmod(0o600)
        return secret

    def configure(self, text: str) -> None:
        self.file.write_text(f'data_dir = "{self.folder}"\n{text}\n[auth]\ntokens_file = "{self.tokens_file}"\n')

    def read(self) -> Config:
        return load(self.file, {"HOME": "/nowhere"})

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
    await files.reload.again()
    assert files.reload.trouble == ""
    assert set(files.types.names) == {"three", "two", "sales_summary", "user_activity"}
    assert files.level == "debug"
    assert (files.knows(second), files.knows(files.secret)) == (True, False)
    assert [set(config.reports) for config in files.learnt] == [set(files.types.names)]


BROKEN: dict[str, tuple[Callable[[Files], object], str]] = {
    "no TOML": (lambda files: files.file.write_text("[reports"), "is not TOML"),
    "an unknown key": (lambda files: files.configure(TYPES + "tmeout_seconds = 3"), "is unknown; did you mean"),
    "gone": (lambda files: files.file.unlink(), "can't be read"),
    "no template": (lambda files: (files.folder / "two.html").unlink(), "reports.two.template: there is no file"),
    "a bad template": (lambda files: (files.folder / "two.html").write_text("{% if %}"), "reports.two.template: two"),
    "a queue": (
        lambda files: files.configure(
            TYPES.replace("[reports.two]", 'queue_url = "http://sqs.internal/1/own"\n[reports.two]')
            + '[queue]\nurl = "http://sqs.internal/1/jobs"\ndead_letter_url = "http://sqs.internal/1/dead"\n'
        ),
        "reports.one.queue_url: can only change so with a restart",
    ),
    "a first container": (
        lambda files: files.configure(TYPES + 'isolation = "container"\n'),
        "reports.two.isolation: can only change so with a restart",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_bad_file_changes_nothing_and_is_told(files: Files, how: str) -> None:
    spoil, expected = BROKEN[how]
    names, entry = files.types.names, files.types.schemas()
    spoil(files)
    with capture_logs() as captured:
        await files.reload.again()
    assert files.reload.trouble.startswith("the configuration is that of before: ")
    assert expected in files.reload.trouble
    (kept,) = [line for line in captured if line["event"] == "config.kept"]
    assert (kept["log_level"], expected in kept["error"]) == ("error", True)
    assert files.types.names == names
    assert files.types.schemas() is entry
    assert files.learnt == []
    # And when it is mended, all is well.
    files.configure(TYPES)
    (files.folder / "two.html").write_text("<p>two")
    await files.reload.again()
    assert files.reload.trouble == ""


async def test_bad_tokens_stay_but_report_types_change(files: Files) -> None:
    files.tokens_file.write_text("nonsense\n")
    files.configure(TYPES.replace("reports.one", "reports.three"))
    await files.reload.again()
    assert files.reload.trouble == "the tokens are those of before"
    assert files.knows(files.secret)
    assert "three" in files.types.names


async def test_a_bad_configuration_keeps_no_token_alive(files: Files) -> None:
    files.file.write_text("[reports")
    files.admit("second")
    await files.reload.again()
    assert not files.knows(files.secret)


async def test_what_needs_a_restart_is_named_for_as_long_as_it_does(files: Files) -> None:
    files.configure(TYPES + "[pool]\nbrowsers = 7\nmax_stalled = 3\n[shutdown]\ndrain_seconds = 3\n")
    with capture_logs() as captured:
        await files.reload.again()
        await files.reload.again()
    assert files.reload.trouble == "waits for a restart: pool.browsers, pool.max_stalled, shutdown.drain_seconds"
    assert [line["event"] for line in captured].count("config.needs_restart") == 2
    assert files.learnt[-1].pool.browsers == 0
    files.configure(TYPES)
    await files.reload.again()
    assert files.reload.trouble == ""


async def test_systemd_is_told_when_it_begins_and_when_it_is_done(
    files: Files, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("reportd.systemd.notify", lambda *lines: told.extend(lines))
    nursery.start_soon(files.reload.run)
    for count in (1, 2):
        files.order.send_nowait(None)
        with trio.fail_after(10):
            while len(told) < 3 * count:
                await trio.sleep(0.01)
    assert told[0] == told[3] == "RELOADING=1"
    assert told[2] == told[5] == "READY=1"
    # By this systemd knows that it is about its order and not an earlier one.
    stamps = [int(told[index].removeprefix("MONOTONIC_USEC=")) for index in (1, 4)]
    assert 0 < stamps[0] < stamps[1]
    assert len(files.learnt) == 2
    nursery.cancel_scope.cancel()
