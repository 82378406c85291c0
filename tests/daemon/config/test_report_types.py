"""Report types: where a page comes from, what it may reach, when it is ready, and those that are built in."""

from pathlib import Path

import pytest

from reportd.config import ConfigError, ReportType, load
from reportd.config.report_types import BUILT_IN, NEWER
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.network import NetworkRule
from reportd.ports import Ready
from tests.wording import mentions


def reports(tmp_path: Path, text: str) -> dict[str, ReportType]:
    file = tmp_path / "reportd.toml"
    file.write_text(text)
    return dict(load(file, {"HOME": "/home/ada"}).reports)


def report(tmp_path: Path, keys: str) -> ReportType:
    return reports(tmp_path, f'[reports.a]\nurl = "https://app.test/"\n{keys}')["a"]


def refused(tmp_path: Path, text: str) -> str:
    """Return the problem of ``[reports.a]``, from its key on."""
    with pytest.raises(ConfigError) as caught:
        reports(tmp_path, f"[reports.a]\n{text}")
    (problem,) = caught.value.problems
    return f"{problem.key.removeprefix('reports.a.')}: {problem.message}"


# Built-in types


def test_the_built_in_types_exist_by_default(tmp_path: Path) -> None:
    found = reports(tmp_path, "")
    assert set(found) == set(BUILT_IN)
    for name, built_in in found.items():
        assert built_in == ReportType(template=f"{name}.html", parameters_schema=f"{name}.schema.json")


def test_another_type_does_not_replace_them(tmp_path: Path) -> None:
    assert set(reports(tmp_path, '[reports.a]\ntemplate = "a.html"')) == {"a", *BUILT_IN}


def test_a_built_in_type_keeps_keys_that_are_not_set(tmp_path: Path) -> None:
    found = reports(tmp_path, '[reports.sales_summary]\nmedia = "screen"\n[reports.sales_summary.pdf]\nformat = "A5"')
    assert found["sales_summary"].template == "sales_summary.html"
    assert found["sales_summary"].media == "screen"
    assert found["sales_summary"].pdf.format == "A5"


def test_a_built_in_template_can_be_replaced_and_its_schema_removed(tmp_path: Path) -> None:
    found = reports(tmp_path, '[reports.sales_summary]\ntemplate = "own.html"')["sales_summary"]
    assert (found.template, found.parameters_schema) == ("own.html", "sales_summary.schema.json")
    found = reports(tmp_path, '[reports.sales_summary]\nparameters_schema = ""')["sales_summary"]
    assert (found.template, found.parameters_schema) == ("sales_summary.html", "")


def test_a_url_replaces_a_built_in_type_completely(tmp_path: Path) -> None:
    found = reports(tmp_path, '[reports.sales_summary]\nurl = "https://app.test/"')["sales_summary"]
    assert (found.template, found.url, found.parameters_schema) == ("", "https://app.test/", "")


@pytest.mark.parametrize("name", sorted(NEWER))
def test_a_type_of_ones_own_that_was_there_before_a_built_in_one_keeps_its_name(tmp_path: Path, name: str) -> None:
    own = reports(tmp_path, f'[reports.{name}]\ntemplate = "own.html"')[name]
    assert own == ReportType(template="own.html")
    aliased = reports(tmp_path, f'[reports.a]\ntemplate = "a.html"\naliases = ["{name}"]')
    assert set(aliased) == {"a", *BUILT_IN} - {name}
    tuned = reports(tmp_path, f"[reports.{name}]\ntimeout_seconds = 90")[name]
    assert tuned == ReportType(timeout_seconds=90, **BUILT_IN[name])


# The source of the page


def test_a_page_has_exactly_one_source(tmp_path: Path) -> None:
    assert mentions(refused(tmp_path, ""), "template: ", "missing", "url")
    assert mentions(refused(tmp_path, 'template = "a.html"\nurl = "http://app.test/"'), "url: ", "template")
    assert report(tmp_path, 'template = ""').url == "https://app.test/"


def test_a_page_gets_its_parameters_in_one_of_the_ways_that_there_are(tmp_path: Path) -> None:
    found = report(tmp_path, 'method = "POST"\nbody = "form"\ninject = "$my_Report1"\nready = "page"')
    assert (found.method, found.body, found.inject, found.ready) == ("POST", "form", "$my_Report1", Ready("page"))
    found = report(tmp_path, "")
    assert (found.method, found.body, found.inject) == ("GET", "json", "")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('url = ""\ntemplate = "a.html"\nmethod = "POST"', ("method: ", "template", "accepted: POST for a url")),
        ('url = "https://app.test/?{params}"\nmethod = "POST"', ("method: ", "url has {params}", "accepted: POST,")),
        ('body = "form"', ("body: ", "only a POST has a body", 'accepted: method = "POST"')),
        ('method = "PUT"', ("method: ", "accepted: one of GET, POST")),
        ('body = "xml"', ("body: ", "accepted: one of json, form")),
        *(
            (f'inject = "{name}"', ("inject: ", "accepted: a name"))
            for name in (
                "a-b",
                "1a",
                "a.b",
                "ä",
                "x" * 65,
                "location",
                "top",
                "reportd",
                "__reportdReady",
                "NaN",
                "Promise",
                "setInterval",
            )
        ),
        ('ready = "page:x"', ("ready: ", "or page")),
    ],
)
def test_a_way_that_makes_no_sense_is_refused(tmp_path: Path, keys: str, words: tuple[str, ...]) -> None:
    url = "" if "url = " in keys else 'url = "https://app.test/"\n'
    assert mentions(refused(tmp_path, url + keys), *words)


def test_cookies_need_an_address(tmp_path: Path) -> None:
    problem = refused(tmp_path, 'template = "a.html"\ncookies = {a = "b"}')
    assert mentions(problem, "cookies: ", "template", "accepted: ", "url")


@pytest.mark.parametrize("key", ["template", "parameters_schema"])
@pytest.mark.parametrize("path", ["/etc/passwd", "../a.html", "a/../../b.html"])
def test_files_are_below_the_configurations_folder(tmp_path: Path, key: str, path: str) -> None:
    keys = {"template": "a.html", key: path}
    problem = refused(tmp_path, "\n".join(f'{name} = "{value}"' for name, value in keys.items()))
    assert mentions(problem, f"{key}: ", "folder", "accepted: ")


@pytest.mark.parametrize(
    "url",
    [
        "https://app.test/render?params={params}&task={taskId}&user={userId}",
        "http://127.0.0.1:3000/{taskId}",
        "http://[::1]/a",
        "https://bücher.test/a#{params}",
        "https://user:word@app.test/%7Ba%7D",
    ],
)
def test_a_url_may_hold_placeholders(tmp_path: Path, url: str) -> None:
    found = reports(tmp_path, f'[reports.a]\nurl = "{url}"')["a"]
    assert found.url == url
    NetworkRule.of(found.allowed_hosts, found.url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://app.test/{parameters}", "has a brace that is part of no known placeholder"),
        ("https://app.test/{params", "has a brace that is part of no known placeholder"),
        ("https://app.test/{}", "has a brace that is part of no known placeholder"),
        ("https://{params}/", "has a placeholder in its host; parameters must not choose the host"),
        ("https://app.test:80{taskId}", "has a host or port that can't be read"),
        ("https://app.test{params}", "has a placeholder in its host; parameters must not choose the host"),
        ("file:///etc/passwd", "is a file: URL, which no page may be"),
        ("ftp://app.test/", "does not begin with http:// or https://"),
        ("app.test/render", "does not begin with http:// or https://"),
        ("https:///render", "has no host"),
        ("https://app.test:0/", "has port 0"),
        ("https://app.test/a b", "holds a space, a backslash or a control character"),
        ("https://app..test/", "has a host that is neither an address nor a name"),
        ("http://0x7f.1/", "has a host that is neither an address nor a name"),
        ("https://user:w/rd@app.test/", "has a host or port that can't be read"),
        ("https://user:12/rd@app.test/", "has an @ outside its host part"),
    ],
)
def test_a_faulty_url_is_refused(tmp_path: Path, url: str, problem: str) -> None:
    assert refused(tmp_path, f"url = '{url}'").startswith(f"url: {problem}")


# Names


def test_aliases_are_names_of_one_type_only(tmp_path: Path) -> None:
    found = reports(tmp_path, '[reports.a]\ntemplate = "a.html"\naliases = ["b", "c_2"]')
    assert found["a"].aliases == ("b", "c_2")
    taken = "which is already a name of reports"
    assert f"has user_activity, {taken}.user_activity" in refused(
        tmp_path, 'template = "a.html"\naliases = ["user_activity"]'
    )
    assert f"has a, {taken}.a" in refused(tmp_path, 'template = "a.html"\naliases = ["a"]')
    with pytest.raises(ConfigError, match=rf"reports\.b\.aliases: has c, {taken}\.a"):
        reports(tmp_path, '[reports]\na = {template = "a", aliases = ["c"]}\nb = {template = "b", aliases = ["c"]}')
    problem = refused(tmp_path, 'template = "a.html"\naliases = ["b", "Not-a-name"]')
    assert mentions(problem, "aliases: entry 2 ", "accepted: ", "lower-case letters, digits and underscores")


@pytest.mark.parametrize("name", ["A", "1a", "_a", "a-b", "", "a" * 65])
def test_a_report_types_name_is_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="accepted: a lower-case letter, then"):
        reports(tmp_path, f'[reports."{name}"]\ntemplate = "a.html"')


# Hosts


@pytest.mark.parametrize(
    ("url", "allowed", "hosts"),
    [
        ("https://app.test/", "", {"app.test:80", "app.test:443"}),
        ("https://app.test:8443/", "", {"app.test:8443"}),
        ("http://[::1]:3000/", "", {"[::1]:3000"}),
        (
            "https://APP.test/",
            '"CDN.test", "*.cdn.test:443"',
            {"app.test:80", "app.test:443", "cdn.test", "*.cdn.test:443"},
        ),
        ("https://app.test/", '"app.test"', {"app.test", "app.test:80", "app.test:443"}),
    ],
)
def test_the_urls_own_host_is_always_allowed_at_its_port(
    tmp_path: Path, url: str, allowed: str, hosts: set[str]
) -> None:
    found = reports(tmp_path, f'[reports.a]\nurl = "{url}"\nallowed_hosts = [{allowed}]')["a"]
    assert set(found.hosts) == hosts
    assert NetworkRule.of(found.hosts) == NetworkRule.of(found.allowed_hosts, found.url)


def test_a_template_reaches_nothing_by_itself(tmp_path: Path) -> None:
    assert reports(tmp_path, "")["sales_summary"].hosts == ()


@pytest.mark.parametrize("host", ["", "a b", "http://app.test", "*.10.0.0.1", "0x7f.1", "app.test:0", "*"])
def test_an_invalid_host_is_refused(tmp_path: Path, host: str) -> None:
    problem = refused(tmp_path, f'template = "a.html"\nallowed_hosts = ["{host}"]')
    assert mentions(problem, "allowed_hosts: entry 1 ", "accepted: ", '["reports.internal", "*.cdn.internal"]')


@pytest.mark.parametrize(
    "keys",
    ['headers = {"a b" = "c"}', 'headers = {a = "b\\nc"}', 'cookies = {"a;" = "b"}', 'cookies = {a = "b c"}'],
)
def test_headers_and_cookies_are_what_http_allows(tmp_path: Path, keys: str) -> None:
    problem = refused(tmp_path, f'url = "http://app.test/"\n{keys}')
    assert mentions(problem, ": entry 1 ", "accepted: ", "table")


@pytest.mark.parametrize(
    "header", ['Host = "x"', 'TE = "trailers"', 'Proxy-Authorization = "x"', 'connection = "Upgrade"']
)
def test_a_header_that_the_browser_refuses_is_refused(tmp_path: Path, header: str) -> None:
    name = header.partition(" ")[0]
    problem = refused(tmp_path, f'url = "http://app.test/"\nheaders = {{X = "y", {header}}}')
    assert mentions(problem, f": entry 2 has the name {name}, which the browser writes itself", "accepted: ")


def test_other_headers_of_a_connection_are_accepted(tmp_path: Path) -> None:
    text = 'headers = {Connection = "close", Origin = "http://a.test", Content-Type = "a/b"}'
    assert len(report(tmp_path, text).headers) == 3


# Ready and failed pages


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("load", Ready()),
        ("networkidle", Ready("networkidle")),
        ("selector:#done > p:first-child", Ready("selector", "#done > p:first-child")),
        ("expression: window.done === true", Ready("expression", "window.done === true")),
        ("event:report:done", Ready("event", "report:done")),
    ],
)
def test_when_a_page_is_ready(tmp_path: Path, text: str, ready: Ready) -> None:
    assert report(tmp_path, f"ready = '{text}'").ready == ready
    assert ReportType(ready=ready).ready == ready


@pytest.mark.parametrize("text", ["", "Load", "load:", "networkidle0", "selector", "event: ", "done"])
def test_an_unknown_condition_is_refused(tmp_path: Path, text: str) -> None:
    problem = refused(tmp_path, f"url = 'http://app.test/'\nready = '{text}'")
    assert problem.startswith("ready: ")
    assert mentions(problem, "accepted: load, networkidle, stable, selector:CSS, expression:JS ", "event:NAME")


def test_the_older_keys_name_kinds_of_warnings(tmp_path: Path) -> None:
    assert report(tmp_path, "").failures == set()
    assert report(tmp_path, "fail_on_resource_errors = true").failures == {WarningKind.RESOURCES, WarningKind.FONTS}
    both = report(tmp_path, 'fail_on = ["glyphs"]\nfail_on_script_errors = true')
    assert both.failures == {WarningKind.GLYPHS, WarningKind.SCRIPTS}


def test_which_statuses_fail(tmp_path: Path) -> None:
    assert report(tmp_path, "").fail_on_status == ((400, 599),)
    assert report(tmp_path, "fail_on_status = []").fail_on_status == ()
    found = report(tmp_path, 'fail_on_status = ["400-499", "503", 204, "500 - 502"]')
    assert found.fail_on_status == ((400, 499), (503, 503), (204, 204), (500, 502))
    assert found.redacted()["fail_on_status"] == ["400-499", "503", "204", "500-502"]


@pytest.mark.parametrize(
    "entry", ["99", "600", '"4xx"', '"499-400"', "true", "4.5", f"0x{'f' * 6000}", "[400]", '"400-"']
)
def test_an_invalid_status_is_refused(tmp_path: Path, entry: str) -> None:
    problem = refused(tmp_path, f"url = 'http://app.test/'\nfail_on_status = [{entry}]")
    assert mentions(problem, "fail_on_status: ", "accepted: ", "100 to 599", '["400-499", "503"]')


# Redacted form


def test_the_shown_form_is_valid_in_the_file(tmp_path: Path) -> None:
    keys = 'ready = "event:done"\nfail_on_status = [404]\nallowed_hosts = ["cdn.test"]\n[reports.a.pdf]\nscale = 2.0'
    found = report(tmp_path, keys)
    assert ReportType(**found.redacted()) == found
