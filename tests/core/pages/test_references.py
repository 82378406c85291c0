"""What the text of a template or of a style sheet asks for."""

import pytest

from reportd.core.pages.references import UNKNOWN, css_references, html_references


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<img src="a.png"><IMG SRC=b.png>', ("a.png", "b.png")),
        ('<img srcset="a.png, b.png 2x," src="a.png">', ("a.png", "b.png")),
        (
            '<img srcset="data:image/png;base64,AAAA 1x, https://cdn.test/w_2,h_1/a.png 2x">',
            ("data:image/png;base64,AAAA", "https://cdn.test/w_2,h_1/a.png"),
        ),
        ('<img srcset="a,1.png 1x , b.png(,) c.png, d.png (, e.png">', ("a,1.png", "b.png(,)", "d.png")),
        ('<link rel="Stylesheet" href="a.css"><link rel=icon href=i.ico><link href=n.css>', ("a.css",)),
        ('<link rel=preload as=font href="a.woff2">', ("a.woff2",)),
        ('<svg><image href="a.png"/><image xlink:href="b.png"/></svg>', ("a.png", "b.png")),
        ('<video src="a.mp4" poster="b.png"></video><script src=c.js></script>', ("a.mp4", "b.png", "c.js")),
        ('<a href="other.html">x</a>', ()),
        ('<p style="background: url(a.png)">', ("a.png",)),
        ('<style>p { background: url("a.png") }</style><p>url(b.png)', ("a.png",)),
        (f'<img src="{UNKNOWN}.png"><img src="a.png" src="b.png">', ("a.png", "b.png")),
        ("<!-- <img src=a.png> --><img src=b.png>", ("b.png",)),
        ("<![if x]><img src=a.png>", ("a.png",)),
        ("<img src=a.png><![x", ("a.png",)),
        ("<img src=a.png><![foo[bar", ("a.png",)),
        ("<img src><img srcset=','>", ()),
    ],
)
def test_a_template_asks_for(html: str, found: tuple[str, ...]) -> None:
    assert html_references(html).required == found


def test_a_base_of_its_own() -> None:
    assert html_references('<base href="https://own.test/">').own_base
    assert html_references(f'<base href="{UNKNOWN}">').own_base
    assert not html_references("<base target=_top>").own_base


@pytest.mark.parametrize(
    ("css", "required", "optional"),
    [
        ("p { background: url(a.png), URL( 'b.png' ) }", ("a.png", "b.png"), ()),
        ('@import "a.css"; @import url(b.css) print;', ("a.css", "b.css"), ()),
        ("/* url(a.png) */ p::after { content: 'url(b.png)' \"url(c.png)\" }", (), ()),
        ("p { background: url(a\\ b\\2e png) }", ("a b.png",), ()),
        ("p { background: url(\\0.png) }", ("\ufffd.png",), ()),
        (f"p {{ background: url({UNKNOWN}) }}", (), ()),
        (
            """@font-face { src: url(a.eot?#iefix) format('eot'), url(a.woff2) format('woff2'),
                                 url(a.ttf) format('truetype') }
               @font-face { src: url(b.woff) format('woff'); }""",
            ("a.woff2", "b.woff"),
            ("a.eot?#iefix", "a.ttf"),
        ),
        ("@font-face { src: local('A'), url(a.woff2) }", ("a.woff2",), ()),
        (
            "@font-face { src: url(a.woff2) format(woff2) tech(variations), url(b.woff2) format(woff2) }",
            ("a.woff2",),
            ("b.woff2",),
        ),
        ("p { background: url(a.png", ("a.png",), ()),
        ('p { content: "', (), ()),
    ],
)
def test_a_style_sheet_asks_for(css: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    found = css_references(css)
    assert (found.required, found.optional) == (required, optional)
