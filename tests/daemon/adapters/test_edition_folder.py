"""Editions that are kept for the next start."""

from pathlib import Path

import pytest

from reportd.adapters.edition_folder import EditionFolder
from reportd.core.pages.editions import Edition

ONE = Edition.of("a/own.html", {"a/own.html": "<p>ü", "base.html": ""}, {"img/logo.png": b"\0png", "a.css": b""})


def test_an_edition_is_read_as_it_was_kept(tmp_path: Path) -> None:
    folder = EditionFolder(tmp_path / "editions")
    assert folder.kept("report") is None
    folder.keep("report", ONE)
    assert folder.kept("report") == ONE
    other = Edition.of("own.html", {"own.html": "x"}, {})
    folder.keep("report", other)
    assert folder.kept("report") == other
    assert folder.kept("else") is None
    assert [path.name for path in (tmp_path / "editions").iterdir()] == ["report.zip"]


def test_a_clock_that_begins_in_1970_keeps_editions_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 60.0)
    folder = EditionFolder(tmp_path)
    folder.keep("report", ONE)
    assert folder.kept("report") == ONE


def test_what_was_kept_of_other_types_is_removed(tmp_path: Path) -> None:
    folder = EditionFolder(tmp_path / "editions")
    folder.remove_others(["report"])
    for name in ("report", "other"):
        folder.keep(name, ONE)
    folder.remove_others(["report"])
    assert (folder.kept("report"), folder.kept("other")) == (ONE, None)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_is_none(tmp_path: Path, damage: bytes | None) -> None:
    folder = EditionFolder(tmp_path)
    folder.keep("report", ONE)
    path = tmp_path / "report.zip"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"<p>", b"<q>") if damage is None else damage)
    assert folder.kept("report") is None


@pytest.mark.parametrize("damage", [0x01, 0xFF])
def test_no_damaged_byte_makes_another_edition_or_prevents_a_start(tmp_path: Path, damage: int) -> None:
    folder = EditionFolder(tmp_path)
    folder.keep("report", ONE)
    path = tmp_path / "report.zip"
    whole = path.read_bytes()
    for place, byte in enumerate(whole):
        path.write_bytes(whole[:place] + bytes([byte ^ damage]) + whole[place + 1 :])
        assert folder.kept("report") in (None, ONE)


def test_a_full_disk_leaves_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EditionFolder(tmp_path)
    folder.keep("report", ONE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.writestr", full)
    with pytest.raises(OSError, match="No space"):
        folder.keep("report", Edition.of("own.html", {}, {}))
    assert folder.kept("report") == ONE
    assert [path.name for path in tmp_path.iterdir()] == ["report.zip"]
