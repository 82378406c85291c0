"""The render token of a job: at the page's own origin with every request, and nowhere else."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from reportd.adapters.chromium.page.headers import OwnHeaders
from reportd.core.pages.network import NetworkRule
from reportd.ports import Ready, RenderRequest, TokenPlace
from tests.servers.chromium import Stage, fault_of, on_stage, open_stage, request, text_of
from tests.servers.site import Reply, Request, open_site, redirect

TOKEN = "eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl"
PLACES = {
    "bearer": (TokenPlace(header="Authorization"), "authorization", f"Bearer {TOKEN}"),
    "header": (TokenPlace(header="X-Render-Token"), "x-render-token", TOKEN),
    "cookie": (TokenPlace(cookie="render"), "cookie", f"render={TOKEN}"),
}
SEES_COOKIES = Reply("new Image().src = '/seen?' + encodeURIComponent(document.cookie)", content_type="text/javascript")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def with_token(wanted: RenderRequest, place: TokenPlace) -> RenderRequest:
    return replace(wanted, options=replace(wanted.options, token=place), token=TOKEN)


def shows(asked: Request) -> bool:
    """Whether a request has the token anywhere."""
    return TOKEN in f"{asked.target} {asked.headers} {asked.body!r}"


@pytest.mark.browser
@pytest.mark.parametrize("way", PLACES)
@on_stage
async def test_the_token_goes_to_the_pages_own_origin_only(stage: Stage, way: str) -> None:
    place, header, value = PLACES[way]
    async with (
        open_site() as other_port,
        open_site(host="127.0.0.2") as named,
        open_site() as site,
        stage.page() as page,
    ):
        site.pages["/moved"] = redirect("/report")
        parts = [
            f"<img src={where.url('/image')}><iframe src={where.url('/frame')}></iframe>"
            for where in (site, other_port, named)
        ]
        parts += ["<script src=/sees.js></script><img src=/away><script>fetch('/data', {credentials: 'omit'})</script>"]
        site.pages["/report"] = "".join(parts)
        site.pages["/sees.js"] = SEES_COOKIES
        site.pages["/away"] = redirect(other_port.url("/landed"))
        other_port.pages["/frame"] = f"<img src={site.url('/from-a-frame')}>"
        wanted = request(
            url=site.url("/moved"),
            hosts=("127.0.0.1", "127.0.0.2"),
            headers={"X-Key": "secret"},
            header_hosts=NetworkRule.of(["127.0.0.1", "127.0.0.2"]),
            allow_redirects=True,
            ready=Ready("networkidle"),
        )
        assert await fault_of(page, with_token(wanted, place)) is None
        own = {asked.path: asked.headers.get(header) for asked in site.requests}
        assert {"/moved", "/report", "/image", "/frame", "/away", "/data", "/seen"} <= own.keys()
        assert set(own.values()) == {value}
        assert site.asked("/seen")[0].query == {}
        elsewhere = [*other_port.requests, *named.requests]
        assert {asked.path for asked in elsewhere} >= {"/image", "/frame", "/landed"}
        assert [asked.path for asked in elsewhere if shows(asked)] == []
        assert {asked.headers["x-key"] for asked in elsewhere} == {"secret"}

        assert await page.scrub()
        site.requests.clear()
        assert await fault_of(page, request(url=site.url("/report"), hosts=("127.0.0.1",))) is None
        assert [asked.path for asked in site.requests if shows(asked)] == []


@pytest.mark.browser
@on_stage
async def test_a_cookie_with_the_token_leaves_the_pages_own_cookies(stage: Stage) -> None:
    async with open_site() as site, stage.page() as page:
        script = "<p>text<script>document.cookie = 'own=2'; document.cookie = 'render=mine'; fetch('/data')</script>"
        site.pages["/report"] = Reply(script, headers={"Set-Cookie": "hidden=1; HttpOnly"})
        wanted = request(url=site.url("/report"), cookies={"session": "3"}, ready=Ready("networkidle"))
        assert await fault_of(page, with_token(wanted, TokenPlace(cookie="render"))) is None
        sent = site.asked("/data")[0].headers["cookie"].split("; ")
        assert sorted(sent) == ["hidden=1", "own=2", f"render={TOKEN}", "session=3"]


@pytest.mark.browser
@pytest.mark.parametrize("way", PLACES)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@on_stage
async def test_a_page_that_moves_to_another_origin_takes_no_token_there(stage: Stage, way: str, status: int) -> None:
    async with open_site() as other, open_site() as site, stage.page() as page:
        site.pages["/report"] = redirect(other.url("/report"), status)
        other.pages["/report"] = f"<p>text<img src={other.url('/image')}><img src={site.url('/image')}>"
        wanted = request(url=site.url("/report"), hosts=("127.0.0.1",), allow_redirects=True)
        assert await fault_of(page, with_token(wanted, PLACES[way][0])) is None
        assert [(asked.path, shows(asked)) for asked in site.requests] == [("/report", True), ("/image", True)]
        assert [(asked.path, shows(asked)) for asked in other.requests] == [("/report", False), ("/image", False)]


UPLOADS = f"""<p id=out></p><script>
fetch("/data", {{method: "POST", body: "x".repeat({5 * 2**20})}}).then(({{status}}) => {{ out.textContent = status }})
</script>"""


@pytest.mark.browser
@on_stage
async def test_a_page_may_send_any_amount_to_its_server(stage: Stage) -> None:
    async with open_site({"/report": UPLOADS, "/data": "taken"}) as site, stage.page() as page:
        wanted = request(url=site.url("/report"), ready=Ready("expression", "out.textContent"))
        assert text_of(await page.render(with_token(wanted, TokenPlace(header="Authorization")))) == "200"
        (asked,) = site.asked("/data")
        assert (asked.headers["authorization"], len(asked.body)) == (f"Bearer {TOKEN}", 5 * 2**20)


@pytest.mark.browser
@on_stage
async def test_without_a_token_nothing_is_sent_in_its_place(stage: Stage) -> None:
    async with open_site({"/report": "<p>text"}) as site, stage.page() as page:
        wanted = replace(with_token(request(url=site.url("/report")), TokenPlace(header="Authorization")), token="")
        assert await fault_of(page, wanted) is None
        assert "authorization" not in site.requests[0].headers


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://reports.test/x", True),
        ("https://REPORTS.test:443/x", True),
        ("http://reports.test/x", False),
        ("https://reports.test:8443/x", False),
        ("https://api.test/x", False),
        ("https://reports.test./x", False),
        ("https://reports.test@evil.test/", False),
        ("https://reports.test.evil.test/", False),
        ("blob:https://reports.test/x", False),
        ("data:text/plain,x", False),
    ],
)
def test_which_requests_get_the_token(url: str, *, sent: bool) -> None:
    hosts = NetworkRule.of(["api.test", "reports.test"])
    headers = OwnHeaders({}, "https://reports.test/report", hosts, {"Authorization": "Bearer x"})
    assert headers.added_to(url, {}) == ({"Authorization": "Bearer x"} if sent else {})


def test_a_request_does_not_show_its_token() -> None:
    assert TOKEN not in repr(with_token(request(url="https://reports.test/"), TokenPlace(cookie="render")))
