"""Events for systemd's journal: priorities, fields, and the fallback when it does not take them."""

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from reportd.system import logs
from reportd.system.journal import Journal, encoded, fields, message, prefixed, reaches


class Journald:
    """The journal's end of the socket."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(1)

    def heard(self) -> dict[str, str]:
        """Read the next entry by the protocol."""
        data, found = self._socket.recv(1 << 20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[8 + size + 1 :]
            found[name.decode()] = value.decode()
        return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    journald = Journald(tmp_path / "socket")
    yield journald
    journald.close()


def event(**more: object) -> structlog.typing.EventDict:
    return {"event": "job.failed", "level": "warning", "timestamp": "2026-01-01T00:00:00Z"} | more


def test_every_value_is_a_field(journald: Journald) -> None:
    with closing(Journal(journald.address)) as journal, pytest.raises(structlog.DropEvent):
        journal(None, "warning", event(taskId="t-1", reportType="sales", attempt=2, alone=False))
    assert journald.heard() == {
        "MESSAGE": "job.failed taskId=t-1 reportType=sales attempt=2 alone=false",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "reportd",
        "REPORTD_EVENT": "job.failed",
        "REPORTD_TASK_ID": "t-1",
        "REPORTD_REPORT_TYPE": "sales",
        "REPORTD_ATTEMPT": "2",
        "REPORTD_ALONE": "false",
    }


def test_what_a_page_says_makes_no_field_of_its_own(journald: Journald) -> None:
    with closing(Journal(journald.address)) as journal, pytest.raises(structlog.DropEvent):
        journal(None, "warning", event(detail="x\nPRIORITY=0\nMESSAGE=all is well\udcff"))
    heard = journald.heard()
    assert heard["PRIORITY"] == "4"
    assert heard["REPORTD_DETAIL"] == "x\nPRIORITY=0\nMESSAGE=all is well?"
    assert heard["MESSAGE"].startswith('job.failed detail="x\\nPRIORITY=0')


def test_an_exception_follows_on_lines_of_its_own() -> None:
    assert message(event(exception="Traceback:\n  here")) == "job.failed\nTraceback:\n  here"


@pytest.mark.parametrize(
    ("level", "number"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_priorities_are_those_of_syslog(level: str, number: int) -> None:
    assert fields(event(level=level))["PRIORITY"] == str(number)
    assert prefixed(level, "one\ntwo") == f"<{number}>one\n<{number}>two"


def test_names_are_such_as_the_journal_takes() -> None:
    named = fields(event(**{"a-b c": 1, "x" * 100: 2, "HTTPStatus": 3}))
    assert {"REPORTD_A_B_C", "REPORTD_HTTPSTATUS"} < named.keys()
    assert all(len(name) <= 64 for name in named)


def test_what_the_journal_does_not_take_goes_to_stderr(tmp_path: Path, journald: Journald) -> None:
    with closing(Journal(str(tmp_path / "nobody"))) as journal:
        assert journal(None, "warning", event(taskId="t-1")) == "<4>job.failed taskId=t-1"
    with closing(Journal(journald.address)) as journal:
        huge = journal(None, "warning", event(detail="x" * (16 << 20)))
    assert huge.startswith("<4>job.failed detail=xxx")


def test_the_journal_is_known_by_the_file_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert reaches(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not reaches(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not reaches(stream.fileno())
    assert not reaches(9999)


def test_fields_with_line_breaks_have_a_length() -> None:
    assert encoded({"A": "1", "B": "x\ny"}) == b"A=1\nB\n\x03\x00\x00\x00\x00\x00\x00\x00x\ny\n"


# --- the log as a whole -----------------------------------------------------------------------------------------


@pytest.fixture
def untouched() -> Iterator[None]:
    """Restore the log of the test run."""
    root = logging.getLogger()
    before, handlers = structlog.get_config(), root.handlers[:]
    yield
    structlog.configure(**before)
    root.handlers[:] = handlers


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("untouched")
def test_the_level_changes_while_the_daemon_runs(capsys: pytest.CaptureFixture[str]) -> None:
    set_level = logs.set_up("warning", "json")
    log = structlog.get_logger()
    log.info("a")
    log.warning("b")
    set_level("debug")
    log.debug("c")
    set_level("error")
    log.warning("d")
    log.error("e")
    assert [line.split('"')[3] for line in lines(capsys)] == ["b", "c", "e"]


@pytest.mark.usefixtures("untouched")
def test_under_systemd_events_go_to_the_journal_and_libraries_have_a_priority(
    tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("w") as stream, closing(Journal(journald.address)) as journal:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(logs, "Journal", lambda: journal)
        logging.getLogger().handlers.clear()  # handlers of the test run
        logs.set_up("info", "auto")
        structlog.get_logger().info("daemon.ready", slots=2)
        logging.getLogger("library").error("it is broken")
    assert journald.heard()["MESSAGE"] == "daemon.ready slots=2"
    assert (tmp_path / "stream").read_text() == "<3>library: it is broken\n"


@pytest.mark.usefixtures("untouched")
def test_who_asks_for_json_gets_json_anywhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "reaches", lambda _: True)
    logs.set_up("info", "json")
    structlog.get_logger().info("daemon.ready")
    assert lines(capsys)[0].startswith('{"event": "daemon.ready", "level": "info"')


@pytest.mark.usefixtures("untouched")
def test_a_traceback_on_a_terminal_shows_no_variables(capsys: pytest.CaptureFixture[str]) -> None:
    """Where rich is installed, structlog would have it print them."""
    password = "hun" + "ter2"
    logs.set_up("info", "console")
    try:
        _ = 1 / (len(password) - 7)
    except ZeroDivisionError:
        structlog.get_logger().exception("it.failed")
    printed = capsys.readouterr().err
    assert "ZeroDivisionError" in printed
    assert "hunter2" not in printed


def test_events_can_still_be_captured() -> None:
    with capture_logs() as captured:
        structlog.get_logger().info("x")
    assert captured == [{"event": "x", "log_level": "info"}]
