"""Which edition is in force while its files are saved, well or badly."""

import os
import threading
import time
from pathlib import Path

import pytest
import trio

from reportd.adapters.edition_folder import EditionFolder
from reportd.adapters.templates.templates import Templates
from reportd.app.checks import Checks
from reportd.config import Config, ConfigError, Loaded, ReportType
from reportd.core.faults import FaultError
from reportd.intake.catalogue import Catalogue
from reportd.intake.edition_reader import EditionReader
from reportd.intake.editions import LiveEdition
from reportd.intake.loaded_types import ReportTypes
from reportd.ports import EditionStore, UnavailableError
from tests.daemon.node import job
from tests.fakes.checking import catalogue_of, inline_checker, report_types_of

PAGE = "<html><body>{% block a %}<p>{{ word }}</p>{% endblock %}<img src=a.png></body></html>"
PNG = b"\x89PNG IEND\xaeB`\x82"


class Folder:
    """The files of a report type ``report``, long since saved, and its edition in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checker = inline_checker([path])
        self.save("own.html", PAGE)
        self.save("a.png", PNG)
        self.store = EditionFolder(path / "data")
        self.live = self.read()

    def read(self) -> LiveEdition:
        reader = EditionReader([self.path], Templates([self.path]), self.checker)
        reading = reader.read_here("own.html", "report", 2**20)
        assert reading is not None
        assert reading.edition is not None
        return LiveEdition("report", reader, self.store, edition=reading.edition, reading=reading)

    def save(self, name: str, data: str | bytes, age_seconds: float = 60.0) -> None:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        at = time.time() - age_seconds
        os.utime(path, (at, at))

    async def text(self) -> str:
        """What the present template is."""
        return (await self.live.current()).sources["own.html"]


@pytest.fixture
async def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def test_a_sound_change_is_in_force_at_the_next_use(folder: Folder) -> None:
    before = await folder.live.current()
    assert await folder.live.current() is before
    folder.save("own.html", PAGE.replace("<p>", "<p>new "), age_seconds=50)
    after = await folder.live.current()
    assert "new" in after.sources["own.html"]
    assert after.hash != before.hash
    folder.save("a.png", PNG + b"IEND", age_seconds=40)
    assert (await folder.live.current()).assets["a.png"] == PNG + b"IEND"
    assert folder.store.kept("report") == folder.live.edition


async def test_a_file_that_is_only_touched_is_no_new_edition(folder: Folder) -> None:
    before = await folder.live.current()
    folder.save("own.html", PAGE, age_seconds=30)
    assert await folder.live.current() is before


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("own.html", PAGE[:20], "nexpected end of template"),
        ("own.html", PAGE[: PAGE.index("{% endblock")], "nexpected end of template"),
        ("own.html", PAGE[:-20], "own.html is cut off"),
        ("own.html", "", "own.html is cut off"),
        ("own.html", PAGE.replace("a.png", "b.png"), "there is no file b.png"),
        ("own.html", "{{ word | munny }}", "No filter named 'munny'. Did you mean money?"),
        ("own.html", b"\xff", "can't decode"),
        ("a.png", PNG[:5], "a.png is cut off"),
    ],
)
async def test_a_faulty_change_is_refused_and_told_once(
    folder: Folder, capsys: pytest.CaptureFixture[str], name: str, data: str | bytes, says: str
) -> None:
    before = folder.live.edition
    folder.save(name, data, age_seconds=50)
    capsys.readouterr()
    for _ in range(3):
        assert await folder.live.current() is before
    assert says in folder.live.trouble
    assert before.hash in folder.live.trouble
    assert capsys.readouterr().out.count("edition.refused") == 1
    folder.save("own.html", PAGE, age_seconds=40)
    folder.save("a.png", PNG, age_seconds=40)
    assert await folder.live.current() is before
    assert folder.live.trouble == ""


async def test_what_seems_cut_off_is_taken_when_it_is_saved_once_more(folder: Folder) -> None:
    """HTML may leave out its end, and a tool that makes it smaller does."""
    smaller = PAGE.removesuffix("</body></html>") + "smaller"
    folder.save("own.html", smaller, age_seconds=50)
    assert await folder.text() == PAGE
    assert "if it is whole, save it once more" in folder.live.trouble
    folder.save("report.sample.json", '{"word": "x"}', age_seconds=40)
    assert await folder.text() == PAGE
    reloaded = folder.read()
    reloaded.go_on_from(folder.live)
    folder.save("own.html", smaller, age_seconds=30)
    assert (await reloaded.current()).sources["own.html"] == smaller
    assert reloaded.trouble == ""
    folder.save("own.html", smaller + "more", age_seconds=20)
    assert (await reloaded.current()).sources["own.html"] == smaller + "more"


async def test_a_file_that_is_saved_with_the_time_of_the_one_before_is_a_new_one(folder: Folder) -> None:
    times = (folder.path / "own.html").stat()
    folder.save("own.html", PAGE.replace("<p>", "<b>"))
    os.utime(folder.path / "own.html", ns=(times.st_mtime_ns, times.st_mtime_ns))
    assert await folder.text() == PAGE.replace("<p>", "<b>")


async def test_a_template_that_is_deleted_prints_on(folder: Folder) -> None:
    (folder.path / "own.html").unlink()
    assert await folder.text() == PAGE
    assert "no such template" in folder.live.trouble


async def test_a_change_that_does_not_render_the_sample_is_refused(folder: Folder) -> None:
    folder.save("report.sample.json", '{"word": "x"}')
    folder.save("own.html", PAGE.replace("word", "wrod"), age_seconds=50)
    assert await folder.text() == PAGE
    assert "report.sample.json is not rendered: own.html, line 1: 'wrod' is undefined" in folder.live.trouble
    folder.save("report.sample.json", '{"wrod": "x"}', age_seconds=40)
    assert "wrod" in await folder.text()


@pytest.mark.parametrize("sample", ['{"other": 1}', "[]", "{", "1"])
async def test_a_sample_that_is_out_of_date_says_nothing(folder: Folder, sample: str) -> None:
    folder.save("report.sample.json", sample)
    folder.save("own.html", PAGE + "<!-- -->", age_seconds=50)
    assert await folder.text() == PAGE + "<!-- -->"


async def test_a_sample_is_rendered_as_a_job_is(folder: Folder) -> None:
    folder.save("report.sample.json", '{"word": "x"}')
    new = PAGE.replace("word", "word ~ task_id ~ user_id ~ (submitted_at | date) ~ (now | date)")
    folder.save("own.html", new, age_seconds=50)
    assert await folder.text() == new


async def test_what_is_being_written_is_waited_for(folder: Folder) -> None:
    folder.save("own.html", "<html>{% block", age_seconds=0.0)

    async def finish() -> None:
        await trio.sleep(0.1)
        folder.save("own.html", PAGE + "done", age_seconds=0.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finish)
        assert await folder.text() == PAGE + "done"
    assert folder.live.trouble == ""


async def test_the_beginning_of_a_file_is_taken_only_after_a_while(folder: Folder) -> None:
    """A template that extends another has no end of its own: cut off between two blocks it is a template, too."""
    child = "{% extends 'own.html' %}{% block a %}one{% endblock %}"
    folder.save("child.html", child + "{% block b %}two{% endblock %}")
    reading = await folder.live._reader.read("child.html", "report")
    assert reading.edition is not None
    live = LiveEdition("report", folder.live._reader, None, edition=reading.edition, reading=reading)
    folder.save("child.html", child, age_seconds=1.0)
    assert (await live.current()) is reading.edition
    assert live.trouble == ""
    folder.save("child.html", child, age_seconds=6.0)
    await trio.sleep(0.25)
    assert (await live.current()).sources["child.html"] == child


async def test_what_is_written_on_and_on_is_not_waited_for(folder: Folder) -> None:
    ended = False

    async def write() -> None:
        while not ended:
            folder.save("own.html", PAGE[: int(time.time() * 1000) % 40], age_seconds=0.0)
            await trio.sleep(0.02)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.sleep(0.05)
        with trio.fail_after(3.0):
            for _ in range(20):
                assert await folder.text() == PAGE
        ended = True


async def test_a_file_system_that_does_not_answer_leaves_it_in_force(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("reportd.intake.editions.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("reportd.intake.edition_files.Reading.is_current", lambda _: answers.wait(10.0))
    try:
        assert await folder.text() == PAGE
    finally:
        answers.set()


async def test_when_it_can_not_be_checked_now_it_is_checked_later(folder: Folder) -> None:
    processes = folder.checker._at_work
    folder.save("own.html", PAGE + "new", age_seconds=50)
    processes.fault = UnavailableError("work on jobs", "too many tasks wait")  # type: ignore[attr-defined]
    assert await folder.text() == PAGE
    assert folder.live.trouble == ""
    processes.fault = None  # type: ignore[attr-defined]
    assert await folder.text() == PAGE + "new"


async def test_a_full_disk_keeps_no_edition_from_being_in_force(folder: Folder) -> None:
    (folder.path / "data").write_text("in the way")
    folder.save("own.html", PAGE + "new", age_seconds=50)
    assert await folder.text() == PAGE + "new"


async def test_jobs_of_a_moment_look_together(folder: Folder) -> None:
    folder.save("own.html", PAGE + "new", age_seconds=50)
    found: list[str] = []

    async def use() -> None:
        found.append(await folder.text())

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(use)
    assert found == [PAGE + "new"] * 10
    assert folder.checker._at_work.asked == 1  # type: ignore[attr-defined]


async def test_no_half_saved_template_is_ever_used(folder: Folder) -> None:
    """Each save leaves the file cut off for a moment, in the middle of a tag, of a block, or of the text."""
    whole = {f"{PAGE}<!-- {number} --></html>" for number in range(60)} | {PAGE}
    stop = threading.Event()

    def save() -> None:
        for number in range(60):
            text = f"{PAGE}<!-- {number} --></html>"
            folder.path.joinpath("own.html").write_text(text[: 8 + number * 2])
            stop.wait(0.01 * (number % 4))
            folder.path.joinpath("own.html").write_text(text)
            stop.wait(0.03 * (number % 9))

    used: set[str] = set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, save)
        with trio.move_on_after(10.0):
            while True:
                used.add(await folder.text())
                await trio.sleep(0.005)
                if used & {PAGE + "<!-- 59 --></html>"}:
                    break
    assert used <= whole
    assert len(used) > 2


# --- a start and a reload -----------------------------------------------------------------------------------


def types_of(path: Path, store: EditionStore | None = None) -> tuple[Checks, Loaded]:
    config = Config(reports={"report": ReportType(template="own.html")})
    checker = inline_checker([path])
    return Checks([path], checker, store), Loaded(config, lambda _: "", (path,))


async def started(path: Path, store: EditionStore | None = None) -> ReportTypes:
    checks, loaded = types_of(path, store)
    return (await checks.check(loaded)).types


async def test_a_start_with_faulty_files_uses_what_was_kept(folder: Folder) -> None:
    await folder.live.keep()
    folder.save("own.html", PAGE[:20])
    with pytest.raises(ConfigError, match="nexpected end"):
        await started(folder.path)
    live = (await started(folder.path, folder.store)).entries["report"].live
    assert live is not None
    assert (await live.current()).sources["own.html"] == PAGE
    assert "nexpected end" in live.trouble
    (folder.path / "own.html").unlink()
    live = (await started(folder.path, folder.store)).entries["report"].live
    assert live is not None
    assert "no such template" in live.trouble


async def test_a_start_with_sound_files_uses_them(folder: Folder) -> None:
    await folder.live.keep()
    folder.save("own.html", PAGE + "new")
    types = await started(folder.path, folder.store)
    live = types.entries["report"].live
    assert live is not None
    assert (live.edition.sources["own.html"], live.trouble) == (PAGE + "new", "")
    # The store is written by a daemon that runs.
    assert folder.store.kept("report") == folder.live.edition
    await Catalogue(types, folder.checker, []).keep_editions()
    assert folder.store.kept("report") == live.edition


async def test_what_was_kept_of_another_template_is_not_used(folder: Folder) -> None:
    await folder.live.keep()
    folder.store.keep("report", type(folder.live.edition).of("other.html", {"other.html": "x"}, {}))
    folder.save("own.html", PAGE[:20])
    with pytest.raises(ConfigError, match="nexpected end"):
        await started(folder.path, folder.store)


async def test_a_reload_with_faulty_files_is_refused_with_their_names(folder: Folder) -> None:
    folder.save("own.html", PAGE.replace("a.png", "b.png"))
    checks, loaded = types_of(folder.path, folder.store)
    await folder.live.keep()
    with pytest.raises(ConfigError, match=r"own\.html, line 1: there is no file b\.png"):
        await checks.judge(loaded, checks.read(loaded.config))


async def test_a_reload_does_not_put_a_refused_edition_in_force(folder: Folder) -> None:
    config = Config(reports={"report": ReportType(template="own.html")})
    catalogue = catalogue_of(config, [folder.path], folder.checker)
    folder.save("own.html", PAGE[:-20], age_seconds=50)
    before = (await catalogue.request(job(1, "report", word="x"))).edition
    assert "cut off" in catalogue.troubles()["report"]
    catalogue.exchange(report_types_of(config, [folder.path], folder.checker))
    assert "cut off" in catalogue.troubles()["report"]
    assert (await catalogue.request(job(1, "report", word="x"))).edition == before


async def test_a_page_that_asks_for_files_gets_them(folder: Folder) -> None:
    config = Config(reports={"report": ReportType(template="own.html")})
    catalogue = catalogue_of(config, [folder.path], folder.checker)
    request = await catalogue.request(job(1, "report", word="x"))
    assert request.assets is not None
    assert request.html is not None
    assert f'<base href="https://assets.reportd.invalid/{request.edition}/">' in request.html
    assert await request.assets.find("a.png") == PNG
    with pytest.raises(FaultError, match=r"own\.html: there is no file gone\.png"):
        await request.assets.find("gone.png")
    folder.save("own.html", "<p>{{ word }}</p></html>", age_seconds=50)
    request = await catalogue.request(job(1, "report", word="x"))
    assert (request.assets, request.html) == (None, "<p>x</p></html>")
    assert len(request.edition) == 12
