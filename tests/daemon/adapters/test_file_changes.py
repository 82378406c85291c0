"""Changes of files are told, however an editor saves; what editors and programs write on the side is not."""

import errno
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import trio
from watchfiles import Change, awatch

from reportd.adapters import file_changes
from reportd.adapters.file_changes import Seen, watch_folders
from reportd.concurrency.nurseries import open_background


class Told:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1

    async def again(self, do: Callable[[], object]) -> None:
        """Do something, and wait until a change is told."""
        before = self.times
        do()
        with trio.fail_after(10):
            while self.times == before:
                await trio.sleep(0.01)


@asynccontextmanager
async def watching(*folders: Path, files: tuple[Path, ...] = ()) -> AsyncIterator[Told]:
    told = Told()
    async with open_background() as nursery:
        nursery.start_soon(partial(watch_folders, folders, told, files=files))
        # The watch has begun once it tells of a change.
        for number in range(200):
            (folders[0] / "begin.txt").write_text(str(number))
            await trio.sleep(0.05)
            if told.times:
                break
        yield told


def replaced(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_text(text)
    part.rename(file)


async def test_each_way_of_saving_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    async with watching(tmp_path) as told:
        await told.again(lambda: file.write_text("new"))
        await told.again(lambda: file.write_text("truncated and written"))
        await told.again(lambda: replaced(file, "written beside it and renamed"))
        await told.again(lambda: file.rename(tmp_path / "b.html"))
        await told.again((tmp_path / "b.html").unlink)


@pytest.mark.parametrize("name", [".a.html.swp", "a.html~", "#a.html#", "4913", "out.pdf", "reportd.db-wal", "x.log"])
def test_what_is_written_on_the_side_does_not_count(name: str, tmp_path: Path) -> None:
    counts = Seen([tmp_path])
    assert not counts(Change.added, str(tmp_path / name))
    assert counts(Change.added, str(tmp_path / f"a{name}.html"))


async def test_folders_are_watched_with_all_below_and_those_that_come_later(tmp_path: Path) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    async with watching(tmp_path) as told:
        await told.again(lambda: (tmp_path / "parts" / "deep" / "a.html").write_text("x"))
        await told.again((tmp_path / "assets").mkdir)
        await told.again(lambda: (tmp_path / "assets" / "logo.svg").write_text("x"))


async def test_a_folder_that_is_removed_and_made_again_is_watched_again(tmp_path: Path) -> None:
    styles = tmp_path / "styles"

    def made_again() -> None:
        rmtree(styles)
        styles.mkdir()
        (styles / "a.css").write_text("x")

    styles.mkdir()
    (styles / "a.css").write_text("x")
    async with watching(tmp_path) as told:
        await told.again(made_again)
        await told.again(lambda: (styles / "a.css").write_text("y"))


def test_ignored_hidden_and_tools_folders_are_not_watched(tmp_path: Path) -> None:
    for name in ("data", ".git", "node_modules", "parts", "parts/deep"):
        (tmp_path / name).mkdir()
    watched = list(Seen([tmp_path], ignored=[tmp_path / "data"]).folders())
    assert watched == [tmp_path, tmp_path / "parts", tmp_path / "parts" / "deep"]


async def test_of_the_folder_of_a_file_that_was_named_only_the_file_counts(tmp_path: Path) -> None:
    reports, elsewhere = tmp_path / "reports", tmp_path / "elsewhere"
    for folder in (reports, elsewhere, elsewhere / "below"):
        folder.mkdir()
    file = elsewhere / "out.log"
    seen = Seen([reports], files=[file])
    assert set(seen.folders()) == {reports, elsewhere}
    assert seen(Change.added, str(file))
    assert not seen(Change.added, str(elsewhere / "other.html"))
    async with watching(reports, files=(file,)) as told:
        await told.again(lambda: file.write_text("x"))


@pytest.mark.parametrize("gone", [False, True])
async def test_a_kernel_without_watches_or_a_folder_that_has_gone_ends_nothing(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refused_once(*folders: Path, **options: Any) -> AsyncGenerator[Any, None]:
        asked.append(options["force_polling"])
        if len(asked) == 1:
            raise FileNotFoundError(errno.ENOENT, "gone") if gone else OSError(errno.ENOSPC, "no watch is left")
        return awatch(*folders, **options)

    monkeypatch.setattr(file_changes, "awatch", refused_once)
    async with watching(tmp_path) as told:
        await told.again(lambda: (tmp_path / "a.html").write_text("x"))
    assert asked[:2] == [None, None if gone else True]


def test_of_very_many_folders_some_are_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_changes, "MAX_FOLDERS", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    assert list(Seen([tmp_path]).folders()) == [tmp_path, tmp_path / "a"]


async def test_the_watch_ends_at_once(tmp_path: Path) -> None:
    async with watching(tmp_path):
        began = trio.current_time()
    assert trio.current_time() - began < 1
