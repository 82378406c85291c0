"""The arguments of ``reportd preview``: the file of the parameters, the port, and which configuration is meant."""

import argparse
from pathlib import Path

import pytest

from reportd.cli.configuration import development_config
from reportd.cli.main import _parser


def parsed(*arguments: str) -> argparse.Namespace:
    return _parser().parse_args(["preview", "bill", *arguments])


@pytest.mark.parametrize("text", ["mine.json", "@mine.json"])
def test_the_parameters_are_a_file_also_in_the_way_of_submit(text: str) -> None:
    assert parsed("--params", text).params == Path("mine.json")


@pytest.mark.parametrize("port", ["-1", "65536", "http", "", "1.5"])
def test_what_is_no_port_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--port={port}")
    assert "accepted: 0 to 65535" in capsys.readouterr().err


def test_the_file_in_the_current_folder_is_meant_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPORTD_CONFIG", raising=False)
    assert development_config(parsed()) is None, "where the daemon looks"
    (tmp_path / "reportd.toml").touch()
    assert development_config(parsed()) == Path("reportd.toml")
    assert development_config(parsed("--config", "other.toml")) == Path("other.toml")
    monkeypatch.setenv("REPORTD_CONFIG", "third.toml")
    assert development_config(parsed()) is None, "load_from reads the variable"
