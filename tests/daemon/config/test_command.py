"""``reportd check-config``: prints what is understood, or all that is wrong."""

import json
import os
from pathlib import Path

import pytest

from reportd.cli.main import main
from reportd.config import load


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("REPORTD_", "XDG_")) or name == "STATE_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setattr("reportd.config.file.DEFAULT_PATH", tmp_path / "etc" / "reportd.toml")


def test_a_valid_configuration_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text('[alerts]\nslack_url = "https://slack.test/hook"\n[pool]\nbrowsers = 3')
    assert main(["check-config", "--config", str(file)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    shown = json.loads(printed.out)
    assert shown == load(file, os.environ).redacted()
    assert shown["pool"]["browsers"] == 3
    assert shown["alerts"]["slack_url"] == "https://slack.test/***"
    assert shown["data_dir"] == "/home/ada/.local/share/reportd"


def test_no_configuration_is_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check-config"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["http"]["bind"] == "127.0.0.1:8080"
    assert printed.err == "reportd: there is no configuration file, so these are the defaults\n"


def test_a_file_of_the_current_folder_that_was_not_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (tmp_path / "reportd.toml", tmp_path / "etc" / "reportd.toml"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("pool.browsers = 3")
    assert main(["check-config"]) == 0
    hint = "reportd.toml of this folder was not read: name it with --config reportd.toml"
    assert capsys.readouterr().err == f"reportd: this is {tmp_path / 'etc' / 'reportd.toml'}; {hint}\n"
    for named in ("reportd.toml", "etc/reportd.toml"):
        assert main(["check-config", "--config", named]) == 0
        assert capsys.readouterr().err == "", "it was named"
    monkeypatch.chdir(tmp_path / "etc")
    assert main(["check-config"]) == 0
    assert capsys.readouterr().err == "", "it is the file of this folder"


def test_the_environment_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text("pool.browsers = 3\npool.max_stalled = 1")
    monkeypatch.setenv("REPORTD_CONFIG", str(file))
    monkeypatch.setenv("REPORTD_POOL__BROWSERS", "5")
    assert main(["check-config"]) == 0
    pool = json.loads(capsys.readouterr().out)["pool"]
    assert (pool["browsers"], pool["max_stalled"]) == (5, 1)


def test_every_fault_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text('[http]\nbind = "0.0.0.0:8080"\n[alerts]\nslack_url = "hunter2"\n[log]\nlevl = "info"')
    monkeypatch.setenv("REPORTD_POOL__BROWSERS", "many")
    assert main(["check-config", "--config", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    first, *faults = printed.err.splitlines()
    assert first == "reportd: the configuration has faults:"
    assert [fault.split(": ")[:2] for fault in faults] == [
        ["REPORTD_POOL__BROWSERS", "pool.browsers"],
        [str(file), "alerts.slack_url"],
        [str(file), "log.levl"],
        [str(file), "http.bind"],
    ]
    assert "hunter2" not in printed.err


def test_a_missing_file_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--config", str(tmp_path / "missing.toml")]) == 2
    assert "missing.toml: can't be read (No such file or directory)" in capsys.readouterr().err


def test_wrong_usage_is_2_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check-config", "--configuration"])
    assert caught.value.code == 2
    assert "usage: reportd" in capsys.readouterr().err
