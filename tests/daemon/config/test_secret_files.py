"""A secret may be in a file, ``{file = "PATH"}``: it is read, never shown, and a faulty file is named."""

import json
import os
from pathlib import Path

import pytest

from reportd.cli.main import main
from reportd.config import ConfigError, Loaded, load_from
from reportd.config.environment import name_of
from reportd.config.keys import field_at, leaves
from reportd.config.secret_files import MAX_BYTES
from reportd.config.section import takes_file
from tests.wording import mentions

WORD = "hunter2"
SIGNING = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
HOME = {"HOME": "/home/ada"}

QUARTERLY = '[reports.quarterly]\nurl = "https://app.test/"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the configuration."""
    folder = tmp_path / "etc"
    folder.mkdir()
    return folder


def secret(file: Path, text: str, mode: int = 0o600) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "reportd.toml"
    file.write_text(text)
    return load_from(file, HOME | environ)


def fault(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **environ)
    return str(caught.value)


def test_which_keys_take_a_file() -> None:
    every = (*leaves(), *leaves(("reports", "NAME")))
    assert {".".join(leaf) for leaf in every if (field := field_at(leaf)) is not None and takes_file(field)} == {
        "alerts.slack_url",
        "alerts.webhook_url",
        "breaker.store",
        "callbacks.secret",
        "database.url",
        "queue.dead_letter_url",
        "queue.url",
        "reports.NAME.callback_url",
        "reports.NAME.cookies",
        "reports.NAME.headers",
        "reports.NAME.queue_url",
        "reports.NAME.url",
    }


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_file_gives_the_text_without_the_line_breaks_at_its_end(folder: Path, end: str) -> None:
    secret(folder / "signing", SIGNING + end)
    assert loaded(folder, 'callbacks.secret = {file = "signing"}').config.callbacks.secret == SIGNING


def test_each_text_of_a_table_may_be_in_a_file(folder: Path) -> None:
    secret(folder / "token", f" Bearer {WORD}\n")
    secret(folder / "session", WORD)
    text = 'headers = {Authorization = {file = "token"}, "X-Tenant" = "acme", file = "a name"}\n'
    report = loaded(folder, QUARTERLY + text + 'cookies.session = {file = "session"}').config.reports["quarterly"]
    assert report.headers == {"Authorization": f" Bearer {WORD}", "X-Tenant": "acme", "file": "a name"}
    assert report.cookies == {"session": WORD}


def test_a_header_or_cookie_may_be_called_file_or_like_a_number(folder: Path) -> None:
    secret(folder / "session", WORD)
    given = loaded(folder, QUARTERLY + 'headers.file = "a"\ncookies = {file = "b"}').config.reports["quarterly"]
    assert (given.headers, given.cookies) == ({"file": "a"}, {"file": "b"})
    named = loaded(folder, QUARTERLY + 'headers = {"1" = {file = "session"}, file = {file = "session"}}')
    file = {"file": str(folder / "session")}
    assert named.config.reports["quarterly"].headers == {"1": WORD, "file": WORD}
    assert named.redacted()["reports"]["quarterly"]["headers"] == {"1": file, "file": file}


def test_a_relative_path_is_a_credential_if_there_is_one_and_beside_the_configuration_otherwise(folder: Path) -> None:
    credentials = folder / "credentials"
    secret(credentials / "redis", "redis://credential:6379/0")
    secret(folder / "redis", "redis://beside:6379/0")
    secret(folder / "database", "postgresql://beside/x")
    text = 'breaker.store = {file = "redis"}\ndatabase.url = {file = "database"}'
    config = loaded(folder, text, CREDENTIALS_DIRECTORY=str(credentials)).config
    assert (config.breaker.store, config.database.url) == ("redis://credential:6379/0", "postgresql://beside/x")
    assert loaded(folder, text).config.breaker.store == "redis://beside:6379/0"


def test_an_absolute_path_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    file = secret(tmp_path / "elsewhere", "https://alerts.test/hook")
    secret(folder / "elsewhere", "https://wrong.test/")
    text = f'alerts.webhook_url = {{file = "{file}"}}'
    config = loaded(folder, text, CREDENTIALS_DIRECTORY=str(folder)).config
    assert config.alerts.webhook_url == "https://alerts.test/hook"


def test_a_variable_names_a_file_as_json_and_hides_the_one_of_the_configuration(folder: Path) -> None:
    file = secret(folder / "signing", SIGNING)
    name = name_of(("callbacks", "secret"))
    text = 'callbacks.secret = {file = "missing"}'
    assert loaded(folder, text, **{name: json.dumps({"file": str(file)})}).config.callbacks.secret == SIGNING
    assert mentions(fault(folder, "", **{name: '{"file": '}), name, "is not JSON", 'here as {"file": "PATH"}')
    headers = {name_of(("reports", "quarterly", "headers")): '{"Authorization": {"file": "signing"}}'}
    assert loaded(folder, QUARTERLY, **headers).config.reports["quarterly"].headers == {"Authorization": SIGNING}


def test_without_a_configuration_file_a_path_is_absolute_or_a_credential(folder: Path) -> None:
    environ = HOME | {name_of(("callbacks", "secret")): '{"file": "signing"}'}
    with pytest.raises(ConfigError) as caught:
        load_from(None, environ)
    assert mentions(str(caught.value), "callbacks.secret", "signing is relative", "accepted: an absolute path")
    secret(folder / "signing", SIGNING)
    assert load_from(None, environ | {"CREDENTIALS_DIRECTORY": str(folder)}).config.callbacks.secret == SIGNING


# Faulty files


def test_a_missing_file_is_named_with_its_key(folder: Path) -> None:
    text = fault(folder, 'callbacks.secret = {file = "nowhere"}')
    assert mentions(text, "reportd.toml: callbacks.secret: ", str(folder / "nowhere"), "No such file", "accepted: ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (WORD.encode() + b"\xff", "is not UTF-8"),
        (WORD.encode() + b"\0", "holds the character NUL"),
        (WORD.encode() * MAX_BYTES, "it has more than 64 KiB"),
        (WORD.encode(), "is not base64"),
    ],
)
def test_a_faulty_file_is_named_without_its_content(folder: Path, content: bytes, problem: str) -> None:
    file = folder / "signing"
    file.write_bytes(content)
    text = fault(folder, 'callbacks.secret = {file = "signing"}')
    assert mentions(text, "callbacks.secret: ", problem, "accepted: ")
    assert str(file) in text
    assert WORD not in text


def test_a_folder_and_a_pipe_are_no_files_and_hold_nothing_up(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    text = fault(folder, 'callbacks.secret = {file = "pipe"}\nalerts.slack_url = {file = "."}')
    assert mentions(text, "callbacks.secret", "not a regular file")
    assert mentions(text, "alerts.slack_url", "Is a directory")


def test_all_faulty_files_are_told_at_once(folder: Path) -> None:
    text = fault(folder, f'database.url = {{file = ""}}\n{QUARTERLY}headers.A = {{file = "a"}}\nurl_ = 1')
    assert mentions(text, "database.url: names no file")
    assert mentions(text, "reports.quarterly.headers: ", str(folder / "a"))
    assert mentions(text, "reports.quarterly.url_: is unknown")


@pytest.mark.parametrize("table", ["{fil = 1}", '{file = "a", mode = 1}', "{file = 1}", "{}"])
def test_another_table_is_refused_with_what_is_accepted(folder: Path, table: str) -> None:
    assert mentions(fault(folder, f"callbacks.secret = {table}"), "callbacks.secret", 'or {file = "PATH"}')


def test_a_key_that_holds_no_secret_takes_no_file(folder: Path) -> None:
    secret(folder / "level", "debug")
    assert mentions(fault(folder, 'log.level = {file = "level"}'), "log.level", "wrong type (a table)")


# Shown


def test_the_configuration_is_shown_with_the_files_in_the_place_of_what_they_hold(folder: Path) -> None:
    secret(folder / "database", f"postgresql://ada:{WORD}@db.internal/jobs")
    secret(folder / "token", WORD)
    headers = 'headers = {A = {file = "token"}, 7 = {file = "token"}, B = "b"}'
    found = loaded(folder, f'database.url = {{file = "database"}}\n{QUARTERLY}{headers}')
    shown = found.redacted()
    assert shown["database"]["url"] == {"file": str(folder / "database")}
    token = {"file": str(folder / "token")}
    assert shown["reports"]["quarterly"]["headers"] == {"A": token, "7": token, "B": "***"}
    assert WORD not in repr(found)
    assert WORD not in json.dumps(shown)
    assert "db.internal" not in json.dumps(shown)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o440, False), (0o604, True), (0o620, True), (0o602, True)]
)
def test_a_file_that_others_can_read_is_told_by_check_config(
    folder: Path, capsys: pytest.CaptureFixture[str], mode: int, exposed: bool
) -> None:
    """The group may read it: that is how systemd gives a service its credentials."""
    file = secret(folder / "signing", SIGNING, mode)
    config = secret(folder / "reportd.toml", 'callbacks.secret = {file = "signing"}')
    assert main(["check-config", "--config", str(config)]) == 0
    printed = capsys.readouterr()
    assert bool(printed.err) == exposed
    if exposed:
        assert mentions(printed.err, str(config), "callbacks.secret", str(file), "chmod 600")
    assert json.loads(printed.out)["callbacks"]["secret"] == {"file": str(file)}
    assert SIGNING not in printed.out + printed.err
