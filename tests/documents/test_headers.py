"""The headers and footers of TEMPLATES.md, as they are printed."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.config import Config, PdfOptions, ReportType
from reportd.core.jobs.job import Job
from tests.documents.blocks import blocks_of
from tests.documents.pictures import TEMPLATES
from tests.documents.sheets import Sheet, sheets_of
from tests.fakes.checking import catalogue_of
from tests.servers.chromium import Stage, open_stage

pytestmark = pytest.mark.browser

TASK = "4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e"
BODY = "<p>one</p><p style='break-before: page'>two</p>"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def printed(stage: Stage, folder: Path, template: str, pdf: PdfOptions) -> list[Sheet]:
    (folder / "report.html").write_text(template)
    report = ReportType(template="report.html", pdf=pdf, timezone="Asia/Tokyo")
    types = catalogue_of(Config(reports={"report": report}), [folder])

    async def render() -> bytes:
        wanted = await types.request(Job(TASK, "report", {"company": "A & B"}, TASK, 0.0))
        async with stage.page() as page:
            pdf = await page.render(wanted)
            assert pdf.data is not None
            return pdf.data

    return sheets_of(stage.portal.call(render))


def test_a_header_and_a_footer_have_the_names_of_a_template_and_the_page_s_number(stage: Stage, tmp_path: Path) -> None:
    (toml,) = [block for block in blocks_of(TEMPLATES, "toml") if "header_template" in block.text]
    (footer,) = [block for block in blocks_of(TEMPLATES, "jinja") if block.first_line == "{# footer.html #}"]
    (tmp_path / "footer.html").write_text(footer.text)
    pdf = PdfOptions(**tomllib.loads(toml.text)["reports"]["quarterly"]["pdf"])
    sheets = printed(stage, tmp_path, BODY, pdf)
    assert len(sheets) == 2
    for number, sheet in enumerate(sheets, 1):
        assert "A & B, " in sheet.text
        assert f"{TASK} · {number} / 2" in sheet.text


def test_a_margin_box_shows_a_value_of_the_job_but_not_on_the_first_page(stage: Stage, tmp_path: Path) -> None:
    (style,) = [block for block in blocks_of(TEMPLATES, "jinja") if block.first_line == "<style>"]
    first, second = printed(stage, tmp_path, style.text + BODY, PdfOptions())
    assert (first.text, second.text) == ("one", "A & B two")
