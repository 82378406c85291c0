"""Which header and footer templates would have to load something, which Chromium doesn't do there."""

import time

import pytest

from reportd.core.pages.print_templates import is_file, is_rendered, unloadable, unloadable_as_written

PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<link rel="stylesheet" href="https://cdn.internal/a.css">', "<link href=https://cdn.internal/a.css>"),
        ("<LINK rel=stylesheet href=a.css>", "<link href=a.css>"),
        ("<style>@import 'a.css';</style>", "@import"),
        ("<style>b{color:red} @IMPORT url(https://cdn.internal/a.css)</style>", "@import"),
        (
            "<style>@font-face{src: URL( 'https://cdn.internal/a.woff2?k=s' )}</style>",
            "url(https://cdn.internal/a.woff2)",
        ),
        ('<p style="background: url(logo.png)">', "url(logo.png)"),
        ("<style>a{b:u\\72 l(logo.png)}</style>", "url(logo.png)"),
        ("<style>a{b:\\u\\r\\l(logo.png)}</style>", "url(logo.png)"),
        ("<style>@im\\000070ort 'a.css'</style>", "@import"),
        ("<style>a{b:url(data:,/*)} c{d:url(logo.png)}</style>", "url(logo.png)"),
        ("<style>a{content:'/*'} c{d:url(logo.png)}</style>", "url(logo.png)"),
        ('<style>a{content:"\\"/*"} c{d:url(logo.png)}</style>', "url(logo.png)"),
        ('<img src="https://cdn.internal/logo.png?token=s">', "<img src=https://cdn.internal/logo.png>"),
        ("<img src=logo.png />", "<img src=logo.png>"),
        (f'<img src="{PICTURE}" srcset="logo.png 2x">', "<img srcset=logo.png 2x>"),
        ('<svg><image href="logo.png"/></svg>', "<image href=logo.png>"),
        ('<svg><image xlink:href="logo.png"/></svg>', "<image xlink:href=logo.png>"),
        ("<script>document.write(1)</script>", "<script>"),
        ("<iframe src=https://x.internal/></iframe>", "<iframe>"),
        (f"<img src=/{'a' * 100}>", f"<img src=/{'a' * 58}…>"),
    ],
)
def test_what_would_have_to_be_loaded_is_named_as_it_is_written_without_its_query(html: str, found: str) -> None:
    assert unloadable(html) == found


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<span class=pageNumber></span> of <span class=totalPages></span>",
        f'<img src="{PICTURE}"> <img src=""> <img>',
        f"<style>b{{background: url('{PICTURE}')}}</style>",
        '<svg><defs><path id="a"/></defs><use href="#a"/><rect fill="url(#a)" style="fill:url(#a)"/></svg>',
        '<a href="https://reports.internal/">our site</a>',
        '<link rel="stylesheet" href="data:text/css,b{color:red}">',
        "<!-- <link href=a.css> -->",
        "<style>/* @import 'a.css'; url(b.png) */ b { color: red }</style>",
        "<style>b{content: '\\201C \\ffffff \\0'} /* \" */ c{d:url(data:,x)} /* url(b.png) */</style>",
        "<style>b{}</style> write @import or url(logo.png) here",
        "5 < 6 & 7 > 2",
    ],
)
def test_what_needs_nothing_is_left_alone(html: str) -> None:
    assert unloadable(html) == ""


@pytest.mark.parametrize("part", ["url(", '"', "'", "/*", "\\", "u\\72l(", '"\n', "url( "])
def test_a_style_sheet_of_half_things_is_judged_in_no_time(part: str) -> None:
    before = time.thread_time()
    unloadable(f"<style>{part * 200_000}</style>")
    assert time.thread_time() - before < 2.0


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{{ number }}", True),
        ("{% if number %}x{% endif %}", True),
        ("header.html", True),
        ("parts/header.html", True),
        ("<span class=pageNumber></span>", False),
        ("<style>@media print{#total{color:red}}</style>", False),
        ("<b>see header.html</b>", False),
        ("see\nheader.html", False),
        ("", False),
    ],
)
def test_a_text_without_jinja_is_printed_as_it_is(template: str, *, rendered: bool) -> None:
    assert is_rendered(template) is rendered


def test_a_file_is_told_from_a_text() -> None:
    assert is_file("header.html")
    assert not is_file("{{ name }}.html")


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("<link href=a.css>", "<link href=a.css>"),
        ("{% if a %}<link href=a.css>{% endif %}", "<link href=a.css>"),
        ("{{ a }}<b style='background: url(a.png)'>", "url(a.png)"),
        ('<img src="{{ logo }}">', ""),
        ("<b style=\"background: url('{{ logo }}')\">", ""),
        ("{# <link href=a.css> #}{{ a }}", ""),
        ("header.html", ""),
    ],
)
def test_what_a_template_fills_in_may_be_loadable_and_the_rest_is_looked_at(template: str, found: str) -> None:
    assert unloadable_as_written(template) == found
