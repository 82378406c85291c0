"""A document that can leave nothing behind costs no navigation. One that could is never taken for inert."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import trio

from reportd.core.pages.inert import is_inert
from reportd.ports import RenderOptions
from tests.servers.chromium import Stage, on_stage, open_stage, request, text_of
from tests.servers.site import Reply, Request, open_site

MARK = "window.left = 'left'; document.title = 'ran'"
ACTIVE = [
    f"<script>{MARK}</script>",
    f"<ScRiPt\n>{MARK}</sCript>",
    f"<svg><script>{MARK}</script></svg>",
    f'<script src="data:text/javascript,{MARK}"></script>',
    f'<img src=x onerror="{MARK}">',
    f'<img/src=x/ONERROR\n=\n"{MARK}">',
    f'<svg onload="{MARK}"></svg>',
    f'<svg><animate attributeName=x dur=1s onbegin="{MARK}"/></svg>',
    f'<body onload="{MARK}">',
    f'<details open ontoggle="{MARK}">x</details>',
    f'<iframe srcdoc="&lt;script&gt;parent.{MARK}&lt;/script&gt;"></iframe>',
    '<iframe src="data:text/html,x"></iframe>',
    '<frameset><frame src="data:text/html,x"></frameset>',
    '<object data="data:text/html,x"></object>',
    '<embed src="data:text/html,x">',
    '<a href="javascript:1">x</a>',
    '<meta http-equiv="refresh" content="0;url=data:text/html,x">',
    '<meta http-equiv="r&#101;fresh" content="60;url=about:blank">',
    '<meta name="referrer" content="no-referrer">',
    '<meta charset="utf-8" name="referrer" content="no-referrer">',
    '<meta http-equiv="Content-Security-Policy" content="img-src \'none\'">',
]
INERT = [
    "",
    "plain text",
    "<!doctype html><html lang=zh><meta charset='utf-8'><title>报表</title><style>p { color: red }</style>",
    '<meta charset="utf-8"/><svg><rect width="1" height="1" fill="#123"/><use href="#x"/></svg>',
    "<meta charset=utf-8><table><tr><td>on and on, once</td></tr></table>",
    '<img src="data:image/png;base64,AAAA"><a href="https://example.com/">x</a>',
]
# What a document prints about the job before it, were anything left. It is active, so the scrub before it is the
# one that the document before it got.
TELL = "<p id=p></p><script>p.textContent = 'tell ' + (window.left || 'nothing')</script>"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_a_long_document_is_judged_in_no_time() -> None:
    begun = time.thread_time()
    for piece in ("on", "on ", "ona ", "ona=", "<meta ", "<meta\n\t", "ona" + " " * 99, "on" + "a" * 99, "a b "):
        is_inert(piece * (3_000_000 // len(piece)))
    assert time.thread_time() - begun < 3


@pytest.mark.parametrize("html", ACTIVE)
def test_what_could_do_something_is_not_inert(html: str) -> None:
    assert not is_inert(html)
    assert not is_inert(f"<!doctype html><meta charset=utf-8><p>x</p>{html.upper()}")


@pytest.mark.parametrize("html", INERT)
def test_a_plain_document_is_inert(html: str) -> None:
    assert is_inert(html)


@pytest.mark.browser
@on_stage
async def test_inert_and_active_documents_take_turns_in_a_page_and_learn_nothing_of_each_other(stage: Stage) -> None:
    async with stage.page() as page:
        for number in range(6):
            plain = (
                f"<!doctype html><title>plain {number}</title><style>i {{ color: red }}</style><i>number {number}</i>"
            )
            assert text_of(await page.render(request(html=plain))) == f"number {number}"
            assert await page.scrub()
            assert text_of(await page.render(request(html=TELL))) == "tell nothing"
            assert await page.scrub()
            assert text_of(await page.render(request(html=f"<i>active</i><script>{MARK}</script>"))) == "active"
            assert await page.scrub()


@pytest.mark.browser
@on_stage
async def test_no_script_runs_in_what_was_taken_for_inert(stage: Stage) -> None:
    async with stage.page() as page:
        for html in ACTIVE[:10]:
            await page.render(replace(request(html=f"<i>shown</i>{html}"), inert=True))
            assert await page.scrub()
        assert text_of(await page.render(request(html=TELL))) == "tell nothing"


@pytest.mark.browser
@on_stage
async def test_an_inert_document_is_printed_with_all_its_images_each_time(stage: Stage) -> None:
    """A late load event of the previous document must not end the wait for this one."""
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="40"><text y="20">drawn</text></svg>'
    reply = Reply(picture, content_type="image/svg+xml")

    async def slowly(wanted: Request, stream: trio.SocketStream) -> None:
        await trio.sleep(0.1 * (int(wanted.path.strip("/.svg")) % 3))
        await stream.send_all(reply.encoded())

    async with open_site() as site, stage.page() as page:
        for number in range(12):
            site.pages[f"/{number}.svg"] = slowly
            html = f'<p>number {number}</p><img src="{site.url(f"/{number}.svg")}">'
            assert is_inert(html)
            text = text_of(await page.render(request(html=html, hosts=("127.0.0.1",))))
            assert text == f"number {number} drawn"
            assert await page.scrub()


@pytest.mark.browser
@on_stage
async def test_an_inert_document_leaves_no_title_style_or_quirks(stage: Stage) -> None:
    async with stage.page() as page:
        first = (
            "<title>secret title</title><style>p { display: none }</style><base href='https://example.com/'>one<p>gone"
        )
        assert text_of(await page.render(request(html=first))) == "one"
        assert await page.scrub()
        pdf = await page.render(request(html="<p>seen</p>"))
        assert text_of(pdf) == "seen"
        assert pdf.data is not None
        assert b"secret" not in pdf.data
        assert await page.scrub()
        # Another medium is set back by scripts' own way, which has to work while none may run.
        options = RenderOptions(media="screen")
        assert text_of(await page.render(request(html="<p>screen</p>", media=options.media))) == "screen"
        assert await page.scrub()
        assert text_of(await page.render(request(html=TELL))) == "tell nothing"
