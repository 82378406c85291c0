"""What a job may say for itself is what its report type allows, and it is printed so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reportd.config import Config, PdfOptions, ReportType
from reportd.core.jobs.job import Job
from reportd.core.jobs.options import JobOptions, read_options
from reportd.intake.catalogue import Catalogue
from tests.daemon.node import USER
from tests.fakes.checking import catalogue_of

ALL = ("locale", "timezone", "fileName", "pdf.format", "pdf.landscape", "pdf.margin", "pdf.scale", "pdf.page_ranges")
MM_5 = 5 / 25.4


def catalogue(tmp_path: Path, **keys: Any) -> Catalogue:
    report = ReportType(url="https://app.test/", **keys)
    return catalogue_of(Config(reports={"report": report}), [tmp_path])


def options(**fields: Any) -> JobOptions:
    read, problems = read_options(fields)
    assert not problems
    return read


async def refusals(types: Catalogue, wanted: JobOptions) -> dict[str, str]:
    """At the door and at work, which are the same."""
    found = await types.check("report", {}, wanted)
    assert found == await types.check_submission("report", {}, wanted) == types.check_options("report", wanted)
    return {problem.pointer: problem.detail for problem in found}


async def test_by_default_language_zone_and_name_are_allowed_and_print_options_are_not(tmp_path: Path) -> None:
    types = catalogue(tmp_path)
    assert await refusals(types, options(locale="de", timezone="UTC", fileName="a")) == {}
    refused = "is not allowed by this report type; accepted: locale, timezone, fileName"
    assert await refusals(types, options(locale="de", pdf={"scale": 1, "landscape": True})) == {
        "/pdf/scale": refused,
        "/pdf/landscape": refused,
    }


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"locale": "de"}, "/locale"),
        ({"timezone": "UTC"}, "/timezone"),
        ({"fileName": "a"}, "/fileName"),
        ({"pdf": {"pageRanges": "1"}}, "/pdf/pageRanges"),
    ],
)
async def test_a_type_that_allows_nothing_names_each_field(
    tmp_path: Path, fields: dict[str, Any], pointer: str
) -> None:
    expected = {pointer: "is not allowed by this report type; accepted: none of these fields"}
    assert await refusals(catalogue(tmp_path, allow=()), options(**fields)) == expected


@pytest.mark.parametrize("name", ["page_ranges", "Scale", "header_template", "headerTemplate", "a/b", "format "])
async def test_print_options_have_the_names_of_the_wire_and_no_others(tmp_path: Path, name: str) -> None:
    [(pointer, detail)] = (await refusals(catalogue(tmp_path, allow=ALL), options(pdf={name: "1"}))).items()
    assert pointer == f"/pdf/{name.replace('/', '~1')}"
    assert detail.endswith("accepted: locale, timezone, fileName, pdf.format, pdf.landscape, pdf.margin, pdf.scale, "
                           "pdf.pageRanges")  # fmt: skip


@pytest.mark.parametrize(
    ("pdf", "pointer", "detail"),
    [
        ({"format": "A9"}, "/pdf/format", "is not one of the values; accepted: one of Letter, Legal, "),
        ({"landscape": "yes"}, "/pdf/landscape", "has the wrong type (a text); accepted: true or false"),
        ({"margin": "10"}, "/pdf/margin", "is not a length; accepted: one to four lengths as in CSS"),
        ({"scale": 3}, "/pdf/scale", "3 is too large; accepted: a number from 0.1 to 2"),
        ({"pageRanges": "5-1"}, "/pdf/pageRanges", "has a range whose end is below its start; accepted: pages"),
        ({"margin": "200mm"}, "/pdf/margin", "leaves no room on the page; accepted: margins smaller than the paper"),
        ({"format": "A6"}, "/pdf/format", "leaves no room on the page; accepted: margins smaller than the paper"),
        ({"margin": "0"}, "/pdf/margin", "is 0 at the top, where header_template is printed; accepted: room for it"),
    ],
)
async def test_values_are_those_of_the_configuration(
    tmp_path: Path, pdf: dict[str, Any], pointer: str, detail: str
) -> None:
    types = catalogue(tmp_path, allow=ALL, pdf=PdfOptions(margin="60mm", header_template="<b>a</b>"))
    [(found, text)] = (await refusals(types, options(pdf=pdf))).items()
    assert found == pointer
    assert text.startswith(detail)


async def test_a_job_can_choose_no_pages_of_a_sheet_that_is_as_high_as_its_content(tmp_path: Path) -> None:
    types = catalogue(tmp_path, allow=ALL, pdf=PdfOptions(height="content"))
    assert list(await refusals(types, options(pdf={"pageRanges": "2-3"}))) == ["/pdf/pageRanges"]
    assert not await refusals(types, options(pdf={"format": "A5"}))


async def test_paper_that_a_job_names_counts_more_than_the_size_in_its_page(tmp_path: Path) -> None:
    types = catalogue(tmp_path, allow=ALL, pdf=PdfOptions(fit="width", height="content"))

    async def printed(wanted: JobOptions) -> tuple[Any, ...]:
        made = (await types.request(Job(USER, "report", {}, USER, 0.0, options=wanted))).options
        return made.fit_width, made.content_height, made.print_parameters["paperWidth"]

    assert await printed(JobOptions()) == (True, True, 8.2677)
    assert await printed(options(pdf={"format": "A5"})) == (True, True, 5.8268)
    plain = catalogue(tmp_path, allow=ALL)
    for pdf, fixed in (({}, False), ({"scale": 0.5}, False), ({"format": "A4"}, True), ({"landscape": False}, True)):
        made = await plain.request(Job(USER, "report", {}, USER, 0.0, options=options(pdf=pdf)))
        assert made.options.fixed_paper is fixed


async def test_the_filters_of_a_template_write_in_the_language_and_zone_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ 1.5 | number }} {{ 0 | datetime('HH:mm') }}")
    report = ReportType(template="own.html", timezone="Asia/Tokyo")
    types = catalogue_of(Config(reports={"report": report}), [tmp_path])
    for wanted, html in (
        (options(locale="de"), "1,5 09:00"),
        (JobOptions(), "1.5 09:00"),
        (options(locale="fr", timezone="UTC"), "1,5 00:00"),
    ):
        assert (await types.request(Job(USER, "report", {}, USER, 0.0, options=wanted))).html == html


async def test_a_job_has_the_language_and_zone_of_its_type_where_it_names_none(tmp_path: Path) -> None:
    types = catalogue(tmp_path, locale="de-AT", timezone="Europe/Vienna")
    plain = Job(USER, "report", {}, USER, 0.0)
    assert types.with_defaults(plain).options == JobOptions("de-AT", "Europe/Vienna")
    own = replace(plain, options=JobOptions("ja", "", "a.pdf"))
    assert types.with_defaults(own).options == JobOptions("ja", "Europe/Vienna", "a.pdf")
    gone = replace(own, report_type="gone")
    assert types.with_defaults(gone) is gone
    assert catalogue(tmp_path).with_defaults(own) is own


async def test_an_unknown_type_is_the_only_problem(tmp_path: Path) -> None:
    [problem] = await catalogue(tmp_path).check("other", {}, options(pdf={"scale": 1}))
    assert problem.pointer == "/reportType"


async def test_the_job_is_printed_as_it_says_and_else_as_its_type_does(tmp_path: Path) -> None:
    defaults = {"locale": "de-AT", "timezone": "Europe/Vienna", "pdf": PdfOptions(format="A3", margin="5mm")}
    types = catalogue(tmp_path, allow=ALL, **defaults)

    async def printed(wanted: JobOptions) -> tuple[Any, ...]:
        made = (await types.request(Job(USER, "report", {}, USER, 0.0, options=wanted))).options
        print_it = made.print_parameters
        names = ("paperWidth", "landscape", "marginTop", "scale", "pageRanges")
        return made.locale, made.timezone, *(print_it[name] for name in names)

    assert await printed(JobOptions()) == ("de-AT", "Europe/Vienna", 11.6929, False, MM_5, 1.0, "")
    own = options(locale="ja", pdf={"format": "a5", "landscape": True, "scale": 2, "pageRanges": "2-3"})
    assert await printed(own) == ("ja", "Europe/Vienna", 5.8268, True, MM_5, 2.0, "2-3")
    assert await printed(options(timezone="UTC", pdf={"margin": "1in"})) == (
        "de-AT",
        "UTC",
        11.6929,
        False,
        1.0,
        1.0,
        "",
    )
    assert await printed(JobOptions()) == ("de-AT", "Europe/Vienna", 11.6929, False, MM_5, 1.0, "")
