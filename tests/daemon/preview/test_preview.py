"""The loop of a preview: what is printed, what is shown of each fault and where, and that nothing ends it."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trio

from reportd.config import ConfigError, Problem
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.core.jobs.warnings import JobWarning, WarningKind
from reportd.ports import Pdf, RenderRequest, TooCostlyError, UnavailableError
from reportd.preview.findings import of_config
from reportd.preview.preview import NOBODY
from reportd.preview.view import Finding, View
from tests.fakes.previews import A4, CONFIG, SAMPLE, TEMPLATE, open_scene
from tests.fakes.rendering import FakeRenderer

pytestmark = [
    pytest.mark.usefixtures("autojump_clock"),
    pytest.mark.stands_still("files are read and checked in one step, as at a start; only their author waits"),
]


def marked(finding: Finding) -> tuple[str, int, str]:
    assert finding.excerpt is not None
    (line,) = [line for line in finding.excerpt.lines if line.marked]
    assert line.number == finding.excerpt.line
    return finding.excerpt.file, line.number, line.text.strip()


def only(view: View) -> Finding:
    (finding,) = view.findings
    return finding


async def test_the_sample_beside_the_template_is_printed_as_a_job_would_be(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        view = scene.preview.view
        assert view.findings == ()
        assert view.parameters == tmp_path / "note.sample.json"
        assert view.printed is not None
        assert view.printed.html == "<title>42</title>\n<p>one</p>\n"
        assert view.printed.pages == (A4, A4)
        assert view.printed.pdf.startswith(b"%PDF")
        assert view.printed.print_seconds == pytest.approx(1.0)
        assert scene.renderer.rendered == [(NOBODY, False)]


async def test_the_parameters_may_be_in_a_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"number": "7", "lines": []}')
    async with open_scene(tmp_path, parameters="mine.json") as scene:
        assert scene.preview.view.printed is not None
        assert "<title>7</title>" in (scene.preview.view.printed.html or "")


async def test_a_page_of_ones_own_is_printed_from_its_address(tmp_path: Path) -> None:
    config = '[reports.note]\nurl = "http://127.0.0.1/report?p={params}"\n'
    async with open_scene(tmp_path, config=config) as scene:
        printed = scene.preview.view.printed
        assert printed is not None
        assert printed.html is None
        assert (printed.url or "").startswith("http://127.0.0.1/report?p=%7B")


async def test_a_type_without_a_sample_has_no_parameters(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        (tmp_path / "note.sample.json").unlink()
        view = await scene.after("note.html", "<p>without")
        assert view.findings == ()
        assert view.parameters is None


async def test_language_and_zone_are_those_of_the_submission(tmp_path: Path) -> None:
    async with open_scene(tmp_path, locale="de-DE") as scene:
        view = await scene.after("note.html", "{{ locale }} {{ 1234.5 | number(1) }}")
        assert view.printed is not None
        assert view.printed.html == "de-DE 1.234,5"


async def test_a_change_is_printed_and_the_last_good_report_stays_while_one_fails(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        first = scene.preview.view.printed
        second = (await scene.after("note.html", "<p>second")).printed
        assert first is not None
        assert second is not None
        assert (second.version, second.html) == (first.version + 1, "<p>second")
        failed = await scene.after("note.html", "{{ nothing }}")
        assert failed.printed is second
        assert only(failed)
        good = await scene.after("note.html", "<p>third")
        assert good.findings == ()


async def test_a_newer_change_ends_the_print_of_an_older_one(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.renderer.seconds = 50.0
        scene.preview.again()
        await trio.sleep(5)
        assert scene.preview.view.busy
        scene.renderer.seconds = 1.0
        began = trio.current_time()
        view = await scene.after("note.html", "<p>newer")
        assert trio.current_time() - began < 5
        assert view.printed is not None
        assert view.printed.html == "<p>newer"
        assert scene.renderer.busy == 0


@pytest.mark.parametrize(
    ("name", "text", "title", "place"),
    [
        (
            "note.html",
            f"{TEMPLATE}<b>{{{{ numbr }}}}",
            "The template can't be rendered",
            ("note.html", 5, "<b>{{ numbr }}"),
        ),
        ("note.html", "<p>\n{% for %}\n", "The template can't be used", ("note.html", 2, "{% for %}")),
        ("note.html", "<p>\n{{ 1 | nofilter }}", "The template can't be used", ("note.html", 2, "{{ 1 | nofilter }}")),
        ("note.schema.json", '{\n"type": "object",\n]', "The schema can't be used", ("note.schema.json", 3, "]")),
        (
            "note.schema.json",
            '{"type": "objct"}',
            "The schema can't be used",
            ("note.schema.json", 1, '{"type": "objct"}'),
        ),
        (
            "note.schema.json",
            '{\n"properties": {\n"number": {"type": "strng"}\n}}',
            "The schema can't be used",
            ("note.schema.json", 3, '"number": {"type": "strng"}'),
        ),
        (
            "note.schema.json",
            '{\n"properties": {\n"number": {"maxLenght": 3}\n}}',
            "The schema can't be used",
            ("note.schema.json", 3, '"number": {"maxLenght": 3}'),
        ),
        (
            "note.sample.json",
            '{\n"number": "4\n}',
            "The parameters can't be read",
            ("note.sample.json", 2, '"number": "4'),
        ),
        ("note.sample.json", "", "The parameters can't be read", ("note.sample.json", 1, "")),
        ("note.sample.json", "[1]", "The parameters can't be read", ("note.sample.json", 1, "[1]")),
        (
            "note.sample.json",
            SAMPLE.replace('"42"', "42"),
            "The parameters don't fit the schema",
            ("note.sample.json", 2, '"number": 42,'),
        ),
        (
            "note.sample.json",
            SAMPLE.replace('["one"]', '["one"],\n  "extra": 1'),
            "The parameters don't fit the schema",
            ("note.sample.json", 4, '"extra": 1'),
        ),
        ("reportd.toml", f"{CONFIG}ready = \n", "The configuration has a fault", ("reportd.toml", 4, "ready =")),
        ("reportd.toml", f"{CONFIG}ready = 1\n", "The configuration has a fault", ("reportd.toml", 4, "ready = 1")),
        ("reportd.toml", f"{CONFIG}colour = 1\n", "The configuration has a fault", ("reportd.toml", 4, "colour = 1")),
        (
            "reportd.toml",
            CONFIG.replace("note.html", "nott.html"),
            "The configuration has a fault",
            ("reportd.toml", 2, 'template = "nott.html"'),
        ),
    ],
)
async def test_each_fault_of_a_file_is_shown_with_its_line(
    name: str, text: str, title: str, place: tuple[str, int, str], tmp_path: Path
) -> None:
    async with open_scene(tmp_path) as scene:
        before = (tmp_path / name).read_text()
        finding = only(await scene.after(name, text))
        assert (finding.title, marked(finding)) == (title, place)
        assert finding.detail
        assert (await scene.after(name, before)).findings == ()


async def test_the_line_of_an_included_template_is_shown(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    async with open_scene(tmp_path) as scene:
        scene.write("parts/line.html", "<i>\n{{ lines[9] }}</i>")
        view = await scene.after("note.html", "{% include 'parts/line.html' %}")
        assert marked(only(view)) == ("parts/line.html", 2, "{{ lines[9] }}</i>")


async def test_a_type_that_is_no_longer_there_is_named_with_those_there_are(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        finding = only(await scene.after("reportd.toml", CONFIG.replace("reports.note", "reports.other")))
        assert "reports.note: there is no report type of this name; accepted: " in finding.detail
        assert {"other", "sales_summary"} <= {*finding.detail.partition("accepted: ")[2].split(", ")}


async def test_faults_of_other_types_and_a_tokens_file_that_cant_be_read_do_not_matter(tmp_path: Path) -> None:
    config = f'{CONFIG}[reports.broken]\ntemplate = "missing.html"\n[auth]\ntokens_file = "/nowhere/tokens"\n'
    async with open_scene(tmp_path, config=config) as scene:
        assert scene.preview.view.findings == ()


def test_an_environment_variable_at_fault_is_named() -> None:
    (finding,) = of_config(ConfigError([Problem("REPORTD_POOL__BROWSERS", "pool.browsers", "is too small")]), [])
    assert finding.detail == "REPORTD_POOL__BROWSERS: pool.browsers: is too small"
    assert finding.excerpt is None


async def test_an_option_that_is_not_accepted_is_named(tmp_path: Path) -> None:
    async with open_scene(tmp_path, locale="xx-nowhere") as scene:
        finding = only(scene.preview.view)
        assert finding.title == "The report can't be asked for so"
        assert finding.detail.startswith("/locale")


async def test_a_named_file_of_parameters_that_is_missing_is_a_fault(tmp_path: Path) -> None:
    async with open_scene(tmp_path, parameters="gone.json") as scene:
        assert only(scene.preview.view).detail == "gone.json can't be read: No such file or directory"


@pytest.mark.parametrize(
    ("fault", "title"),
    [
        (FaultKind.TIMEOUT, "The report took too long"),
        (FaultKind.NOT_A_REPORT, "The report failed: not a report"),
        (UnavailableError("browser", "none"), "The report can't be printed now"),
        (TooCostlyError("takes too long"), "The parameters are too costly to check"),
        (RuntimeError("a bug"), "reportd itself has failed"),
    ],
)
async def test_whatever_fails_is_shown_and_ends_nothing(
    fault: FaultKind | Exception, title: str, tmp_path: Path
) -> None:
    async with open_scene(tmp_path) as scene:
        scene.renderer.faults[NOBODY] = [fault]
        assert only(await scene.after("note.html", "<p>fails")).title == title
        assert (await scene.after("note.html", "<p>good again")).findings == ()


@pytest.mark.parametrize(
    "words", ["x" * 300 + ", line 3", "/" + "x" * 300 + " is gone", "{0}, line 1", "{0} is gone", "../other, line 1"]
)
async def test_the_words_of_a_page_end_no_preview_and_show_no_other_file(words: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("a secret")
    folder = tmp_path / "types"
    folder.mkdir()
    async with open_scene(folder) as scene:
        scene.renderer.faults[NOBODY] = [FaultError(FaultKind.PAGE_FAILED, words.format(other))]
        finding = only(await scene.after("note.html", "<p>fails"))
        assert (finding.detail, finding.excerpt) == (words.format(other), None)
        assert (await scene.after("note.html", "<p>good again")).findings == ()


async def test_what_there_was_to_see_of_a_page_that_failed_is_kept(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        evidence = Evidence(b"JPEG", ("error: it broke",), ("http://x/a.js 404",), "waiting")
        scene.renderer.evidence[NOBODY] = evidence
        scene.renderer.faults[NOBODY] = [FaultKind.TIMEOUT]
        assert only(await scene.after("note.html", "<p>fails")).evidence == evidence


async def test_a_page_of_ones_own_gets_its_render_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text(b64encode(bytes(range(32))).decode())
    config = (
        '[render_tokens]\nissuer = "http://127.0.0.1:8080"\n'
        'keys = [{kid = "one", algorithm = "HS256", key = {file = "key"}}]\n'
        '[reports.note]\nurl = "http://127.0.0.1/report"\ntoken = true\n'
    )
    asked: list[RenderRequest] = []
    render = FakeRenderer.render

    async def seen(self: FakeRenderer, request: RenderRequest, **options: Any) -> Pdf:
        asked.append(request)
        return await render(self, request, **options)

    monkeypatch.setattr(FakeRenderer, "render", seen)
    async with open_scene(tmp_path, config=config) as scene:
        assert scene.preview.view.findings == ()
    assert [bool(request.token) and request.options.evidence for request in asked] == [True]


@pytest.mark.parametrize(
    ("fault", "title"),
    [
        (UnavailableError("checks", "too many wait"), "The files can't be checked"),
        (RuntimeError("a bug"), "reportd itself has failed"),
    ],
)
async def test_files_that_cant_be_read_now_are_shown_and_end_nothing(
    fault: Exception, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_scene(tmp_path) as scene:

        async def fail() -> None:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(scene.preview, "_read", fail)
            assert only(await scene.after("note.html", "<p>")).title == title
        assert (await scene.after("note.html", "<p>good again")).findings == ()


async def test_what_is_missing_from_the_pdf_is_kept(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        warning = JobWarning(WarningKind.RESOURCES, "logo.png", "404")
        scene.renderer.warnings[NOBODY] = (warning,)
        view = await scene.after("note.html", "<p>")
        assert view.printed is not None
        assert view.printed.warnings == (warning,)


async def test_a_large_pdf_in_a_file_is_read_and_removed(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        spool = tmp_path / "spool"
        spool.mkdir()
        scene.renderer._spool = spool
        view = await scene.after("note.html", "<p>large")
        assert view.printed is not None
        assert view.printed.pdf.startswith(b"%PDF")
        assert list(spool.iterdir()) == []


async def test_a_file_that_is_saved_in_two_steps_shows_its_fault_for_a_moment_only(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        seen = [only(await scene.after("note.sample.json", SAMPLE[:20])).title]
        view = await scene.after("note.sample.json", SAMPLE)
        assert seen == ["The parameters can't be read"]
        assert view.findings == ()
