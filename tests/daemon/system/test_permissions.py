"""The daemon's files are private, also when they were not before."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reportd.adapters.sql.stores.secrets import shared_secret
from reportd.app import backends, policies
from reportd.config import load
from reportd.system.permissions import close_folder, make_private

OWN = ("lock", "spool")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder made with umask 022."""
    folder = tmp_path / "data"
    (folder / "spool").mkdir(parents=True)
    (folder / "lock").write_text("")
    for path, bits in ((folder, 0o755), (folder / "spool", 0o750), (folder / "lock", 0o644)):
        path.chmod(bits)
    return folder


def test_a_folder_of_before_is_closed_with_what_is_in_it(folder: Path) -> None:
    with capture_logs() as lines:
        close_folder(folder, OWN)
        close_folder(folder, OWN)
    assert [mode(path) for path in (folder, folder / "spool", folder / "lock")] == [0o700, 0o700, 0o600]
    told = {(line["event"], line["path"], line["mode"]) for line in lines}
    assert told == {
        ("files.made_private", str(folder), "0755"),
        ("files.made_private", str(folder / "spool"), "0750"),
        ("files.made_private", str(folder / "lock"), "0644"),
    }
    assert len(lines) == 3


def test_a_folder_that_holds_other_things_is_left_open_and_told(folder: Path) -> None:
    """A home, or /srv: making it private would lock its other users out."""
    (folder / "public_html").mkdir()
    with capture_logs() as lines:
        close_folder(folder, OWN)
    assert [mode(path) for path in (folder, folder / "spool", folder / "lock")] == [0o755, 0o700, 0o600]
    (line,) = [line for line in lines if line["event"] == "files.exposed"]
    assert (line["path"], line["mode"]) == (str(folder), "0755")
    assert "public_html" in line["detail"]


def test_bits_beyond_permissions_and_what_is_closed_already_stay(tmp_path: Path) -> None:
    tmp_path.chmod(0o2700)
    with capture_logs() as lines:
        make_private(tmp_path)
    assert (mode(tmp_path), lines) == (0o2700, [])
    tmp_path.chmod(0o2770)
    make_private(tmp_path)
    assert mode(tmp_path) == 0o2700
    make_private(tmp_path / "not there")


def test_what_belongs_to_somebody_else_is_left_and_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with capture_logs() as lines:
        make_private(folder)
    assert mode(folder) == 0o755
    assert [(line["event"], line["mode"]) for line in lines] == [("files.exposed", "0755")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {"artifacts", "reportd.db", "reportd.db-wal", "reportd.db-shm"}),
        ('[database]\nurl = "sqlite:///db/jobs.db"\n[artifacts]\nurl = "file:pdfs/all"', {"db", "pdfs"}),
        ('[database]\nurl = "sqlite:////else/jobs.db"\n[artifacts]\nurl = "file:/else/pdfs"', set()),
        ('[auth]\ntokens_file = "tokens"\n[artifacts]\nurl = "file:/x"\n[database]\nurl = "sqlite:////x"', {"tokens"}),
    ],
)
def test_what_the_daemon_keeps_in_its_folder(tmp_path: Path, text: str, names: set[str]) -> None:
    file = tmp_path / "reportd.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\n{text}\n')
    assert policies.kept_names(load(file, {})) == {"lock", "spool", "browsers", "editions"} | names


async def test_a_database_elsewhere_is_closed_too(tmp_path: Path) -> None:
    file = tmp_path / "jobs.db"
    config = load(None, {"REPORTD_DATA_DIR": str(tmp_path / "data"), "REPORTD_DATABASE__URL": f"sqlite:///{file}"})
    async with backends.open_sql(config):
        pass
    file.chmod(0o644)
    async with backends.open_sql(config) as database:
        await shared_secret(database, "sessions")
        assert {path.name: mode(path) for path in tmp_path.glob("jobs.db*")} == {  # noqa: ASYNC240 - a test's own
            "jobs.db": 0o600,
            "jobs.db-wal": 0o600,
            "jobs.db-shm": 0o600,
        }
