"""Report types: which submissions they accept, the render request of a job, and which files can't be used."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import reportd_web
from reportd.adapters.templates.templates import Templates
from reportd.config import Config, ConfigError, PdfOptions, ReportType
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job
from reportd.core.jobs.submission import MAX_PROBLEMS
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.post import Body
from reportd.core.pages.url_length import MAX_URL_CHARS, url_length
from reportd.core.schemas.compiled import is_cheap
from reportd.intake.catalogue import Catalogue
from reportd.intake.report_types import ReportTypesReader
from reportd.ports import INLINE_BYTES, Ready, RenderRequest, TooCostlyError
from tests.daemon.node import USER, job
from tests.fakes.checking import catalogue_of, inline_checker, report_types_of
from tests.wording import mentions

SCHEMA = {
    "type": "object",
    "required": ["rows"],
    "properties": {"rows": {"type": "array", "items": {"type": "object", "properties": {"a/b~c": {"type": "number"}}}}},
}


def catalogue(folder: Path, config: Config | None = None, *, schema: Any = SCHEMA, template: str = "") -> Catalogue:
    (folder / "report.html").write_text(template)
    (folder / "schema.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    report = ReportType(template="report.html", parameters_schema="schema.json")
    return catalogue_of(config or Config(reports={"report": report}), [folder])


def found_in(folders: list[Path], config: Config) -> Catalogue:
    return catalogue_of(config, folders)


def with_url(url: str, **keys: Any) -> Config:
    return Config(reports={"report": ReportType(url=url, **keys)})


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("reports.report.template", {"template": "missing.html"}),
        ("reports.report.parameters_schema", {"url": "https://x/", "parameters_schema": "missing.json"}),
    ],
)
def test_a_missing_file_is_named_with_its_key_and_where_it_was_looked_for(
    tmp_path: Path, key: str, keys: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        found_in([tmp_path / "a", tmp_path], Config(reports={"report": ReportType(**keys)}))
    assert str(caught.value).startswith(f"{key}: there is no file missing.")
    assert f"{tmp_path / 'a'}, {tmp_path}; accepted: " in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "",
        "\udcff",
        [1],
        "true",
        {"type": "nothing"},
        {"$ref": "#/nowhere"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/hostname"},
        {"$schema": "https://example.com/unknown"},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_what_is_no_schema_is_named_with_its_key(tmp_path: Path, schema: Any) -> None:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    (tmp_path / "bad.json").write_bytes(text.encode(errors="surrogateescape"))
    report = ReportType(url="https://x/", parameters_schema="bad.json")
    with pytest.raises(ConfigError, match=r"^reports\.report\.parameters_schema: .*bad\.json is not a JSON Schema"):
        found_in([tmp_path], Config(reports={"report": report}))


def test_a_schema_that_cannot_be_read_is_named_with_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("reportd.intake.report_types.read_regular", refused)
    with pytest.raises(ConfigError, match=r"^reports\.report\.parameters_schema: .* can't be read: Permission den"):
        catalogue(tmp_path)


def test_a_template_that_cannot_be_used_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^reports\.report\.template: report\.html, line 3: Encountered unknown tag"):
        catalogue(tmp_path, template="\n\n{% nothing %}")


def test_the_first_folder_that_has_the_file_counts(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    shipped.mkdir()
    (own / "report.html").touch()
    (shipped / "report.html").touch()
    (shipped / "schema.json").write_text('{"required": ["shipped"]}')
    (own / "schema.json").write_text('{"required": ["own"]}')
    report = ReportType(template="report.html", parameters_schema="schema.json")
    types = found_in([own, shipped], Config(reports={"report": report}))
    assert types.schemas() == {"report": {"required": ["own"]}}


# --- checking -----------------------------------------------------------------------------------------------


async def test_good_parameters_have_no_problem(tmp_path: Path) -> None:
    assert (await catalogue(tmp_path).check("report", {"rows": [{"a/b~c": 1}]})) == []


async def test_every_problem_has_its_pointer_into_the_request(tmp_path: Path) -> None:
    types = catalogue(tmp_path)
    (missing,) = await types.check("report", {})
    assert missing.pointer == "/parameters"
    assert "rows" in missing.detail
    (wrong,) = await types.check("report", {"rows": [{}, {"a/b~c": "x"}]})
    assert wrong.pointer == "/parameters/rows/1/a~1b~0c"


async def test_a_thousand_problems_are_not_all_told(tmp_path: Path) -> None:
    problems = await catalogue(tmp_path).check("report", {"rows": [{"a/b~c": "long " * 200}] * 1000})
    assert len(problems) == MAX_PROBLEMS
    assert max(len(problem.detail) for problem in problems) <= 300


async def test_an_unknown_type_is_told_the_known_ones(tmp_path: Path) -> None:
    types = catalogue(tmp_path, Config(reports={"b": ReportType(url="https://x/"), "a": ReportType(url="https://x/")}))
    (problem,) = await types.check("report", {})
    assert problem.pointer == "/reportType"
    assert problem.detail.endswith("accepted: a, b")


async def test_what_is_too_costly_to_check_is_told_as_a_problem(tmp_path: Path) -> None:
    types = catalogue(tmp_path)
    busy = types._checker._at_work  # type: ignore[attr-defined]
    busy.fault = TooCostlyError("takes longer than 4 s")
    (problem,) = await types.check("report", {"rows": ["x" * 10000]})
    assert problem.pointer == "/parameters"
    assert mentions(problem.detail, "takes longer than 4 s")
    assert await types.check("report", {"rows": []}) == []


@pytest.mark.parametrize(
    ("schema", "cheap"),
    [
        (SCHEMA, True),
        ({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "string"}}}, True),
        ({"properties": {"$ref": {"type": "string"}}}, True),
        ({"$id": "https://x/", "$ref": "#/$defs/a", "$defs": {"a": {}}}, True),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, False),
        ({"items": {"$ref": "#"}}, False),
        ({"$defs": {"a": {"$anchor": "b"}}, "$ref": "#b"}, False),
        ({"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}}, False),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, False),
        ({"$defs": {"b": {"$id": "https://b/", "$ref": "#/$defs/a", "$defs": {"a": {}}}, "a": {}}}, False),
        ({"pattern": "^(a|a)*$"}, True),
        ({"pattern": "^(?=a)(a|a)*$"}, False),
        ({"enum": list(range(1000))}, False),
        ({"$ref": "#/$defs/0", "$defs": {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(20)}
          | {"20": {}}}, False),
    ],
)  # fmt: skip
def test_a_schema_is_cheap_only_where_its_cost_is_certain(schema: dict[str, Any], *, cheap: bool) -> None:
    assert is_cheap(schema) is cheap


def test_those_that_ship_are_cheap() -> None:
    for path in (Path(reportd_web.__file__).parent / "reports").glob("*.schema.json"):
        assert is_cheap(json.loads(path.read_text())), path


async def test_without_a_schema_anything_goes(tmp_path: Path) -> None:
    types = catalogue(tmp_path, with_url("https://x/"))
    assert (await types.check("report", {"any": ["thing"]})) == []
    assert types.schemas() == {"report": {"type": "object"}}


async def test_an_alias_is_the_type_itself(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    report = ReportType(url="https://x/", parameters_schema="schema.json", aliases=("old_name",))
    types = found_in([tmp_path], Config(reports={"report": report}))
    assert (await types.check("old_name", {"rows": []})) == []
    assert [problem.pointer for problem in (await types.check("old_name", {}))] == ["/parameters"]
    assert (await types.request(job(1, "old_name"))).url == "https://x/"
    assert [types.canonical(name) for name in ("report", "old_name", "other")] == ["report", "report", None]
    assert types.names == ("report",)


@pytest.mark.parametrize(
    ("url", "pointers"),
    [
        ("https://app.example/hook", []),
        ("https://app.example:443/hook", []),
        ("https://app.example:8443/hook", []),
        ("https://other.example/hook", ["/callbackUrl"]),
        ("https://app.example@evil.example/", ["/callbackUrl"]),
        ("ftp://app.example/", ["/callbackUrl"]),
        ("app.example", ["/callbackUrl"]),
        ("https:///hook", ["/callbackUrl"]),
        ("https://app.example:99999/", ["/callbackUrl"]),
        ("https://app.example:x/", ["/callbackUrl"]),
        ("https://[::1/", ["/callbackUrl"]),
        ("", ["/callbackUrl"]),
    ],
)
def test_a_callback_goes_only_where_it_may(tmp_path: Path, url: str, pointers: list[str]) -> None:
    config = Config(callbacks={"allowed_hosts": ["app.example"]}, reports={})
    assert [problem.pointer for problem in catalogue(tmp_path, config).check_callback(url)] == pointers


# --- requests -----------------------------------------------------------------------------------------------


async def test_a_template_becomes_html(tmp_path: Path) -> None:
    request = await catalogue(tmp_path, template="<p>{{ rows }}").request(job(1, rows=[]))
    assert (request.html, request.url) == ("<p>[]", None)
    assert (request.task_id, request.report_type, request.timeout_seconds) == (job(1).task_id, "report", 60.0)


async def test_a_template_is_told_of_its_job(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(
        "{{ task_id }} {{ user_id }} {{ submitted_at.isoformat() }} "
        "{{ now.isoformat() }} {{ locale }} {{ parameters.a }}"
    )
    report = ReportType(template="report.html", locale="de", timezone="Asia/Tokyo")
    read = report_types_of(Config(reports={"report": report}), [tmp_path])
    types = Catalogue(read, inline_checker([tmp_path]), (), clock=lambda: 86400.0)
    request = await types.request(Job(job().task_id, "report", {"a": 1}, USER, 0.0))
    times = "1970-01-01T09:00:00+09:00 1970-01-02T09:00:00+09:00"
    assert request.html == f"{job().task_id} {USER} {times} de 1"


HEADER = "<b>{{ company }} {{ user_id }}</b> <i class=pageNumber></i>"


def printed_by(request: RenderRequest) -> tuple[str, str]:
    return request.options.print_parameters["headerTemplate"], request.options.print_parameters["footerTemplate"]


@pytest.mark.parametrize("source", ["text", "file"])
@pytest.mark.parametrize("kind", [{"url": "https://x/"}, {"template": "report.html"}])
async def test_a_header_and_a_footer_are_templates_too(tmp_path: Path, kind: dict[str, Any], source: str) -> None:
    (tmp_path / "header.html").write_text(HEADER)
    (tmp_path / "report.html").write_text("x")
    pdf = PdfOptions(
        margin="20mm", header_template=HEADER if source == "text" else "header.html", footer_template="{{ '' }}"
    )
    types = found_in([tmp_path], Config(reports={"report": ReportType(pdf=pdf, **kind)}))
    header, footer = printed_by(await types.request(job(1, company="A & B")))
    assert header == f"<b>A &amp; B {USER}</b> <i class=pageNumber></i>"
    # For an empty text Chromium would print title, date and address.
    assert footer == "<span></span>"


async def test_a_file_of_a_header_that_is_edited_is_in_force_once_it_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "header.html"
    file.write_text("one")
    config = with_url("https://x/", pdf=PdfOptions(margin="20mm", header_template="header.html"))
    types = found_in([tmp_path], config)
    file.write_text("{% half saved")
    assert printed_by(await types.request(job()))[0] == "one"
    file.write_text("two")
    assert printed_by(await found_in([tmp_path], config).request(job()))[0] == "two"


async def test_a_file_of_a_header_that_loads_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "header.html").write_text("<link href=a.css>{{ a }}")
    config = with_url("https://x/", pdf=PdfOptions(margin="20mm", header_template="header.html"))
    with pytest.raises(ConfigError, match=r"header\.html has <link href=a\.css>, which Chromium can't load"):
        found_in([tmp_path], config)


async def test_a_header_without_braces_is_printed_as_it_is(tmp_path: Path) -> None:
    header = "<style>@media print{#a{color:red}}</style>A & B"
    pdf = PdfOptions(margin="20mm", header_template=header)
    types = found_in([tmp_path], with_url("https://x/", pdf=pdf))
    assert printed_by(await types.request(job())) == (header, "<span></span>")


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ("\n{{ nobody }}", "pdf.header_template, line 2: 'nobody' is undefined; accepted: logo"),
        ("header.html", "header.html, line 1: 'nobody' is undefined; accepted: logo"),
        (
            "<b style='background: url({{ logo }})'>",
            "pdf.header_template: has url(https://x/a.png), which Chromium can't load or run in a header or footer",
        ),
    ],
)
async def test_a_fault_of_a_header_is_the_jobs(tmp_path: Path, header: str, detail: str) -> None:
    (tmp_path / "header.html").write_text("{{ nobody }}")
    pdf = PdfOptions(margin="20mm", header_template=header)
    types = found_in([tmp_path], with_url("https://x/", pdf=pdf))
    with pytest.raises(FaultError) as caught:
        await types.request(job(1, logo="https://x/a.png"))
    assert (caught.value.fault.kind, caught.value.fault.detail) == (FaultKind.TEMPLATE_ERROR, detail)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("{% for %}", "reports.report.pdf.header_template: pdf.header_template, line 1: Expected"),
        ("{{ 1 | nosuch }}", "reports.report.pdf.header_template: pdf.header_template, line 1: No filter named"),
        ("{% include 'faulty.html' %}", "reports.report.pdf.header_template: faulty.html, line 1: Encountered"),
        ("faulty.html", "reports.report.pdf.header_template: faulty.html, line 1: Encountered"),
        ("gone.html", "reports.report.pdf.header_template: there is no file gone.html in"),
    ],
)
@pytest.mark.parametrize("inline_bytes", [2**30, 0])
async def test_a_header_that_cannot_be_used_is_named_with_its_key(
    tmp_path: Path, header: str, says: str, inline_bytes: int
) -> None:
    (tmp_path / "faulty.html").write_text("{% nothing %}")
    config = with_url("https://x/", pdf=PdfOptions(margin="20mm", header_template=header))
    reader = ReportTypesReader([tmp_path], Templates([tmp_path]), inline_checker([tmp_path]))
    draft = reader.draft(config, inline_bytes)
    await reader.judge(draft)
    (problem,) = draft.problems
    assert says in f"{problem.key}: {problem.message}"
    assert "accepted: " in problem.message


async def test_a_fault_of_a_template_is_the_jobs(tmp_path: Path) -> None:
    types = catalogue(tmp_path, template="\n\n{{ rows }}")
    with pytest.raises(FaultError) as caught:
        (await types.request(job()))
    assert caught.value.fault.kind is FaultKind.TEMPLATE_ERROR
    assert caught.value.fault.detail == "report.html, line 3: 'rows' is undefined"


async def test_a_url_gets_its_parameters_encoded_and_cannot_be_led_astray_by_them(tmp_path: Path) -> None:
    types = catalogue(tmp_path, with_url("https://reports.internal/{taskId}?u={userId}&p={params}#{params}"))
    parameters = {"text": "a&b=c#d {userId} {taskId} 报告"}
    request = await types.request(Job(job().task_id, "report", parameters, USER, 0.0))
    encoded = quote(json.dumps(parameters, separators=(",", ":"), ensure_ascii=False), safe="")
    assert request.url == f"https://reports.internal/{job().task_id}?u={USER}&p={encoded}#{encoded}"
    assert request.html is None


@pytest.mark.parametrize("size", [10, 2 * INLINE_BYTES])
async def test_a_post_sends_the_parameters_of_any_size(tmp_path: Path, size: int) -> None:
    text = "é" * size
    parameters = {"text": text, "rows": [1]}
    of_job = Job(job().task_id, "report", parameters, USER, 0.0)
    types = catalogue(tmp_path, with_url("https://reports.internal/{taskId}", method="POST"))
    assert await types.check_submission("report", parameters) == []
    request = await types.request(of_job)
    assert request.body == Body(f'{{"text":"{text}","rows":[1]}}'.encode(), "application/json")
    types = catalogue(tmp_path, with_url("https://reports.internal/", method="POST", body="form"))
    request = await types.request(of_job)
    fields = f"text={quote(text)}&rows=%5B1%5D"
    assert request.body == Body(fields.encode(), "application/x-www-form-urlencoded")
    assert request.parameters == "{}"


async def test_what_is_injected_are_the_parameters_of_the_job(tmp_path: Path) -> None:
    types = catalogue(tmp_path, with_url("https://reports.internal/", inject="REPORT"))
    request = await types.request(job(1, a="é"))
    assert (request.options.inject, request.parameters, request.body) == ("REPORT", '{"a":"é"}', None)


async def test_parameters_that_make_a_url_longer_than_the_browser_opens_are_told_with_both_lengths(
    tmp_path: Path,
) -> None:
    types = catalogue(tmp_path, with_url("https://reports.internal/render?params={params}"))
    empty = url_length("https://reports.internal/render?params={params}", '{"text":""}')
    largest: dict[str, Any] = {"text": "x" * (MAX_URL_CHARS - empty)}
    assert await types.check_submission("report", largest) == []
    assert len((await types.request(job(**largest))).url or "") == MAX_URL_CHARS
    larger: dict[str, Any] = {"text": largest["text"] + "x"}
    (problem,) = await types.check_submission("report", larger)
    assert problem.pointer == "/parameters"
    assert mentions(problem.detail, "2097153", "2097152", "accepted: smaller parameters")
    # From the queue it is no bad message: a template of the same name would take it.
    assert await types.check("report", larger) == []
    with pytest.raises(FaultError) as caught:
        await types.request(job(**larger))
    assert caught.value.fault.kind is FaultKind.URL_TOO_LONG


async def test_parameters_of_any_size_are_no_problem_where_the_url_does_not_hold_them(tmp_path: Path) -> None:
    types = catalogue(tmp_path, with_url("https://reports.internal/{taskId}"))
    assert await types.check_submission("report", {"text": "x" * MAX_URL_CHARS}) == []


async def test_the_host_of_a_url_is_allowed_at_its_port_and_no_other(tmp_path: Path) -> None:
    config = with_url("http://localhost:3000/render", allowed_hosts=["cdn.internal"])
    rule = (await catalogue(tmp_path, config).request(job())).rule
    assert rule.may_name("localhost", 3000).allowed
    assert not rule.may_name("localhost", 8080).allowed
    assert rule.may_name("cdn.internal", 443).allowed
    assert not rule.may_name("elsewhere", 443).allowed


async def test_the_options_of_a_type_reach_the_browser(tmp_path: Path) -> None:
    config = with_url(
        "https://x/",
        timeout_seconds=7,
        ready="selector:#done",
        delay_seconds=2,
        headers={"Authorization": "Bearer secret"},
        cookies={"session": "secret"},
        media="screen",
        fail_on_status=["404"],
        fail_on_resource_errors=True,
        fail_on_script_errors=True,
        max_page_bytes=4096,
        pdf={"landscape": True},
    )
    request = await catalogue(tmp_path, config).request(job())
    options = request.options
    assert request.timeout_seconds == 7.0
    assert options.ready == Ready("selector", "#done")
    assert (options.delay_seconds, options.media, options.max_page_bytes) == (2.0, "screen", 4096)
    assert options.headers == {"Authorization": "Bearer secret"}
    assert options.cookies == {"session": "secret"}
    assert options.fail_on_status == ((404, 404),)
    assert options.fail_on == {WarningKind.RESOURCES, WarningKind.FONTS, WarningKind.SCRIPTS}
    assert options.print_parameters["landscape"] is True
    assert "secret" not in repr(request)


@pytest.mark.parametrize(("own", "pools", "wanted"), [("", "context", "context"), ("browser", "context", "browser")])
async def test_the_isolation_of_a_type_goes_before_that_of_the_pool(
    tmp_path: Path, own: str, pools: str, wanted: str
) -> None:
    report = ReportType(url="https://x/", isolation=own)
    config = Config(reports={"report": report}, pool={"isolation": pools})
    assert (await catalogue(tmp_path, config).request(job())).isolation == wanted


# --- reload -------------------------------------------------------------------------------------------------


async def test_another_edition_answers_from_then_on(tmp_path: Path) -> None:
    types = catalogue(tmp_path, with_url("https://old/", aliases=("alias",)))
    before = await types.request(job())
    later = report_types_of(
        Config(reports={"report": ReportType(url="https://new/"), "more": ReportType(url="https://m/")}), [tmp_path]
    )
    assert (types.names, types.canonical("alias")) == (("report",), "report")
    types.exchange(later)
    assert (types.names, types.canonical("alias")) == (("more", "report"), None)
    assert (await types.check("more", {})) == []
    assert types.schemas() == {"report": {"type": "object"}, "more": {"type": "object"}}
    assert (before.url, (await types.request(job())).url) == ("https://old/", "https://new/")


async def test_a_job_whose_type_has_gone_is_told_so(tmp_path: Path) -> None:
    types = catalogue(tmp_path)
    types.exchange(report_types_of(Config(reports={"other": ReportType(url="https://other/")}), [tmp_path]))
    with pytest.raises(FaultError, match="no report type report ") as caught:
        (await types.request(job()))
    assert caught.value.fault.kind is FaultKind.UNKNOWN_REPORT_TYPE
