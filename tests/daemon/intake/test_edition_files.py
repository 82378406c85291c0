"""Which files an edition is made of, and which it is never made of."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from reportd.adapters.templates.templates import Templates
from reportd.adapters.worker_processes.checker import BoundedChecker
from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.references import TemplateParts
from reportd.intake import edition_files
from reportd.intake.edition_files import Reading
from reportd.intake.edition_reader import EditionReader
from reportd.system.regular_files import read_regular
from tests.fakes.checking import inline_checker


def reader_of(*folders: Path) -> EditionReader:
    return EditionReader(folders, Templates(folders), inline_checker(folders))


def read(folders: Path | Sequence[Path], template: str = "own.html") -> Reading:
    one = [folders] if isinstance(folders, Path) else folders
    reading = reader_of(*one).read_here(template, "report", 2**20)
    assert reading is not None
    return reading


def problem_of(folder: Path, html: str) -> str:
    """What is wrong with a template of this text."""
    (folder / "own.html").write_text(html)
    reading = read(folder)
    assert reading.edition is None
    return "; ".join(reading.problems)


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_edition_is_the_template_and_all_that_it_asks_for(tmp_path: Path) -> None:
    put(
        tmp_path,
        own_html='{% extends "base.html" %}{% block b %}{% include "part.html" %}<img src="logo.png">{% endblock %}',
        base_html='{% include ["gone.html", "there.html"] %}<link rel=stylesheet href=css/a.css>'
        "{% block b %}{% endblock %}",
        part_html='<img src="{{ name }}.png"><img src="https://cdn.test/x.png"><a href="other.html">x</a>',
        there_html='{% include "maybe.html" ignore missing %}',
        css__a_css='@import "b.css"; p { background: url(../img/c.svg) }',
        css__b_css="@font-face { src: url(f.woff2) format('woff2'), url(gone.woff) format('woff') }",
        css__f_woff2="font",
        img__c_svg="<svg/>",
        logo_png="png",
        other_png="not asked for",
    )
    edition = read(tmp_path).edition
    assert edition is not None
    assert set(edition.sources) == {"own.html", "base.html", "part.html", "there.html"}
    assert set(edition.assets) == {"css/a.css", "css/b.css", "css/f.woff2", "img/c.svg", "logo.png"}


async def test_a_worker_process_finds_the_same(tmp_path: Path) -> None:
    put(tmp_path, own_html='<link rel=stylesheet href="a.css">', a_css="p { background: url(b.png) }", b_png="png")
    one = await reader_of(tmp_path).read("own.html", "report")
    assert one.edition == read(tmp_path).edition
    assert one.edition is not None
    assert one.is_current()
    assert {path.name for path, found in one.signatures.items() if found is not None} == {"own.html", "a.css", "b.png"}


async def test_a_text_that_many_types_share_is_inspected_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected = []
    inspect = BoundedChecker.inspect

    async def counted(self: BoundedChecker, name: str, source: str) -> TemplateParts:
        inspected.append(name)
        return await inspect(self, name, source)

    monkeypatch.setattr(BoundedChecker, "inspect", counted)
    put(tmp_path, base_html="base", one_html="{% extends 'base.html' %}", two_html="{% include 'base.html' %}")
    reader = reader_of(tmp_path)
    for template in ("one.html", "two.html", "one.html"):
        assert (await reader.read(template, "report")).problems == ()
    assert inspected == ["one.html", "base.html", "two.html"]
    for broken in ("{% if", "{% fi"):
        put(tmp_path, base_html=broken)
        assert (await reader.read("one.html", "report")).edition is None
    assert inspected[3:] == ["base.html", "base.html"]


def test_a_file_is_looked_up_beside_the_template_then_beside_its_parts_then_in_assets(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    put(
        own,
        invoices__invoice_html='{% extends "shared/base.html" %}'
        "{% block b %}<img src=a.png><img src=d.png>{% endblock %}",
        shared__base_html='<img src="b.png"><img src="c.png">{% block b %}{% endblock %}',
        invoices__a_png="beside the template",
        shared__a_png="hidden",
        shared__b_png="beside the base",
        assets__b_png="hidden",
        assets__c_png="of all",
    )
    put(shipped, shared__d_png="shipped", shared__b_png="hidden")
    edition = read([own, shipped], "invoices/invoice.html").edition
    assert edition is not None
    assert {name: data.decode() for name, data in edition.assets.items()} == {
        "a.png": "beside the template",
        "b.png": "beside the base",
        "c.png": "of all",
        "d.png": "shipped",
    }


def test_a_base_address_of_its_own_leads_elsewhere(tmp_path: Path) -> None:
    put(tmp_path, own_html='<base href="https://own.test/"><img src="gone.png">')
    assert read(tmp_path).problems == ()


def test_what_is_not_there_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("\n\np { background: url(gone.png) }")
    text = problem_of(tmp_path, '<link rel=stylesheet href=a.css>\n<img src="img/no.svg">\n<img src="/x.png">')
    assert "own.html, line 2: there is no file img/no.svg beside the template or in the folder assets" in text
    assert "own.html, line 3: /x.png is an absolute path" in text
    assert "a.css, line 3: there is no file gone.png" in text


def test_only_the_first_problems_are_told(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("".join(f"<img src={number}.png>" for number in range(99)))
    assert len(read(tmp_path).problems) == 20


def link_out(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-secret.png"
    outside.write_text("secret")
    (folder / "a.png").symlink_to(outside)


def linked_folder(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir()
    (outside / "b.png").write_text("secret")
    (folder / "a.png").symlink_to(outside / "b.png")


def device(folder: Path) -> None:
    (folder / "a.png").symlink_to("/dev/zero")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "a.png")


def huge(folder: Path) -> None:
    with (folder / "a.png").open("wb") as file:
        file.truncate(2 * 2**30)


def shut(folder: Path) -> None:
    (folder / "a.png").symlink_to("a.png")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (link_out, "a link leads out of its folder"),
        (linked_folder, "a link leads out of its folder"),
        (device, "a link leads out of its folder"),
        (fifo, "it is not a regular file"),
        (huge, "it has more than 8 MiB"),
        (shut, "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_plain_file_of_the_folder_is_refused(tmp_path: Path, make: object, says: str) -> None:
    assert callable(make)
    make(tmp_path)
    text = problem_of(tmp_path, "<img src=a.png>")
    assert f"own.html, line 1: a.png can't be read: {says}" in text


@pytest.mark.parametrize(
    "address", ["../a.png", "%2e%2e/a.png", ".a.png", "own.html", "own.sample.json", "reportd.toml"]
)
def test_what_may_not_be_served_is_refused_although_it_is_there(tmp_path: Path, address: str) -> None:
    for name in ("a.png", "sub/.a.png", "sub/own.sample.json", "sub/reportd.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "sub" / "own.html").write_text(f"<img src='{address}'>")
    assert read(tmp_path / "sub").problems


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    """As a volume of Kubernetes has them."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a.png").write_text("x")
    (tmp_path / "a.png").symlink_to("..data/a.png")
    (tmp_path / "own.html").write_text("<img src=a.png>")
    assert read(tmp_path).problems == ()


def test_all_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edition_files, "MAX_BYTES", 2**20)
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(bytes(2**19))
    text = problem_of(tmp_path, "<img src=0.png><img src=1.png><img src=2.png>")
    assert "own.html: its files have more than 1 MiB; accepted: smaller files" in text


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, own_html="<img src=a.png>", a_png="one")
    looked: list[Path] = []

    def change(path: Path, within: Path | None = None) -> tuple[bytes, os.stat_result]:
        looked.append(path)
        if path.name == "a.png" and len(looked) == 2:
            (tmp_path / "own.html").write_text("<p>other</p><img src=a.png>")
        return read_regular(path, within=within)

    monkeypatch.setattr(edition_files, "read_regular", change)
    edition = read(tmp_path).edition
    assert edition is not None
    assert edition.sources["own.html"].startswith("<p>other")


def test_files_that_never_rest_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, own_html="x")
    monkeypatch.setattr(Reading, "is_current", lambda _: False)
    assert "change while they are read" in read(tmp_path).problems[0]


def test_a_large_text_is_left_to_a_worker_process(tmp_path: Path) -> None:
    put(tmp_path, own_html="<link rel=stylesheet href=a.css>", a_css=" " * 999)
    assert reader_of(tmp_path).read_here("own.html", "report", 1000) is None


async def test_a_file_whose_name_is_computed_is_found_when_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path, own_html="<img src='{{ name }}.png'>", assets__a_png="there", own_json="{}")
    reader, edition = reader_of(tmp_path), read(tmp_path).edition
    assert edition is not None
    os.utime(tmp_path / "assets" / "a.png", (1, 1))
    assert await reader.find(edition, "a.png") == b"there"
    link_out(tmp_path)
    for name, says in (("gone.png", "own.html: there is no file gone.png"), ("a.png", "a link leads out")):
        with pytest.raises(FaultError) as caught:
            await reader.find(edition, name)
        assert caught.value.fault.kind is FaultKind.TEMPLATE_ERROR
        assert says in caught.value.fault.detail


@pytest.mark.parametrize(
    "html",
    [
        '<img src="{% if dark %}dark{% else %}light{% endif %}.svg">',
        '<img src="logo{% if dark %}-dark{% endif %}.svg">',
        "<img src={% if a %}a.svg{% elif b %}b.svg{% else %}c.svg{% endif %}>",
        '<img src="{% for part in parts %}{% if loop.first %}x{% else %}y{% endif %}{% endfor %}.svg">',
        '{% macro icon() %}icon{% endmacro %}<img src="{% set x %}a{% endset %}{{ x }}b.svg">',
        "<style>p { background: url({% if a %}a.svg{% else %}b.svg{% endif %}) }</style>",
    ],
)
def test_an_address_that_a_condition_puts_together_is_not_known_before_a_job(tmp_path: Path, html: str) -> None:
    put(tmp_path, own_html=html + '<img src="sure.svg">', sure_svg="<svg/>")
    edition = read(tmp_path).edition
    assert edition is not None
    assert set(edition.assets) == {"sure.svg"}


def test_what_a_condition_holds_as_a_whole_is_known(tmp_path: Path) -> None:
    html = '{% if a %}<img src="a.svg">{% else %}<img src="b.svg">{% endif %}'
    html += '<i {% if a %}style="--x: url(c.svg)"{% endif %}>'
    put(tmp_path, own_html=html, a_svg="<svg/>", b_svg="<svg/>", c_svg="<svg/>")
    edition = read(tmp_path).edition
    assert edition is not None
    assert set(edition.assets) == {"a.svg", "b.svg", "c.svg"}


@pytest.mark.parametrize("name", ["{0}/secret.html", "sub/../../secret.html", "../secret.html", "a\\0b.html", "/", "."])
def test_a_part_is_never_read_from_outside_of_the_folders(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "templates"
    put(folder, sub__x_html="x")
    put(tmp_path, secret_html="secret")
    says = problem_of(folder, f'{{% include "{name.format(tmp_path)}" %}}')
    assert "no such template" in says


def test_a_part_may_be_named_from_the_folder_down_and_its_files_are_beside_it(tmp_path: Path) -> None:
    put(tmp_path, own_html='{% include "/sub/./part.html" %}', sub__part_html='<img src="a.svg">', sub__a_svg="<svg/>")
    edition = read(tmp_path).edition
    assert edition is not None
    assert set(edition.sources) == {"own.html", "/sub/./part.html"}
    assert set(edition.assets) == {"a.svg"}
