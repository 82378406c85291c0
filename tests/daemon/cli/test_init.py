"""``reportd init``: what it writes is right and complete, and what is there stays as it is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reportd.adapters.templates.templates import Templates
from reportd.app.checks import folders_of
from reportd.app.preview import only
from reportd.cli.main import main
from reportd.config import load_from
from reportd.core.pages.template_context import TemplateContext
from tests.fakes.checking import catalogue_of

FILES = ["assets/logo.svg", "bill.css", "bill.html", "bill.sample.json", "bill.schema.json", "reportd.toml"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPORTD_CONFIG", raising=False)
    return tmp_path


def files(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_it_writes_a_type_and_says_what_and_what_next(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "bill"]) == 0
    out, err = capsys.readouterr()
    assert sorted(out.split()) == sorted(files(here)) == FILES
    assert len(err.splitlines()) == 3
    assert "reportd preview bill --open" in err
    assert "TYPE" not in files(here)["bill.schema.json"]
    assert 'href="bill.css"' in files(here)["bill.html"]


@pytest.mark.stands_still("it reads and checks files, as a start does")
async def test_what_it_writes_has_no_fault_and_its_sample_fits(here: Path) -> None:
    main(["init", "bill"])
    loaded = load_from(here / "reportd.toml", {"HOME": str(here)})
    catalogue = catalogue_of(only(loaded, "bill").config, folders_of(loaded))
    sample = json.loads((here / "bill.sample.json").read_text())
    assert await catalogue.check_submission("bill", sample) == []
    assert await catalogue.check_submission("bill", {**sample, "lines": []}) != []


def test_what_it_prints_adds_up(here: Path) -> None:
    """The exact net amount is 2.01, but each line is rounded by itself."""
    main(["init", "bill"])
    lines = [{"text": "x", "quantity": 1.5, "unitPrice": 0.67, "vatRate": 19}] * 2
    parameters = {**json.loads((here / "bill.sample.json").read_text()), "lines": lines}
    cells = re.findall(
        r"<t[dh]>(?:<bdi>)?([^<]*)(?:</bdi>)?</t[dh]>", Templates([here]).render("bill.html", parameters)
    )
    assert cells[4:12] == ["x", "1.5", "0.67", "1.01"] * 2
    assert cells[12:] == ["Net", "€2.02", "VAT 19 %", "€0.38", "Total", "€2.40"]


def test_what_it_prints_runs_as_the_language_does(here: Path) -> None:
    main(["init", "bill"])
    sample = json.loads((here / "bill.sample.json").read_text())
    page = Templates([here]).render("bill.html", sample, TemplateContext(locale="ar"))
    assert '<html lang="ar" dir="rtl">' in page
    assert '<html lang="en" dir="ltr">' in Templates([here]).render("bill.html", sample)


@pytest.mark.parametrize("before", ["", "\n", 'data_dir = "x"', '[http]\nbind = "127.0.0.1:1"\n', "# a comment"])
def test_the_section_is_added_to_the_configuration_that_is_named(before: str, here: Path) -> None:
    config = here / "etc" / "my.toml"
    config.parent.mkdir()
    config.write_text(before)
    assert main(["init", "bill", "--config", str(config)]) == 0
    assert config.read_text().startswith(before)
    assert load_from(config, {"HOME": str(here)}).config.reports["bill"].template == "bill.html"
    assert (config.parent / "bill.html").is_file()


@pytest.mark.parametrize("name", ["Bill", "b ill", "../bill", "", "9bill", "b" * 65])
def test_a_name_that_is_none_is_refused_and_nothing_written(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", name]) == 2
    assert "accepted: a lower-case letter, then up to 63 of a-z, 0-9 and _" in capsys.readouterr().err
    assert files(here) == {}


@pytest.mark.parametrize("name", ["sales_summary", "old_bill", "bill"])
def test_a_name_that_is_taken_is_refused(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "reportd.toml").write_text('[reports.bill]\nurl = "http://127.0.0.1/"\naliases = ["old_bill"]\n')
    before = files(here)
    assert main(["init", name]) == 2
    assert f"there is a report type {name} already; accepted: another name" in capsys.readouterr().err
    assert files(here) == before


def test_a_built_in_name_is_taken_without_a_configuration(here: Path) -> None:
    assert main(["init", "user_activity"]) == 2
    assert files(here) == {}


@pytest.mark.parametrize("name", ["base", "base_words"])
def test_a_name_that_would_hide_a_part_of_the_built_in_types_is_refused(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", name]) == 2
    assert f"{name}.html is a part of the built-in report types" in capsys.readouterr().err
    assert files(here) == {}


@pytest.mark.parametrize(("blocks", "before"), [(1, ""), (16, "#" + 8185 * "x" + "\n")])
def test_a_disk_that_is_full_leaves_nothing_half_written(blocks: int, before: str, here: Path) -> None:
    """The limit of a file's size, in blocks of 512 bytes, stands for the disk: at a file, and at the section."""
    (here / "reportd.toml").write_text(before)
    command = ["sh", "-c", f'ulimit -f {blocks}; exec "$0" -m reportd.cli init bill', sys.executable]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, "can't be written" in ended.stderr) == (1, True), ended.stderr
    assert files(here) == {"reportd.toml": before}
    assert main(["init", "bill"]) == 0


def test_files_in_the_way_are_named_and_left(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bill.css").write_text("mine")
    (here / "bill.schema.json").symlink_to("nowhere")
    assert main(["init", "bill"]) == 2
    assert (
        "already there, and left as it is: bill.css, bill.schema.json; accepted: another name"
        in capsys.readouterr().err
    )
    assert files(here) == {"bill.css": "mine"}


def test_a_second_type_shares_the_logo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "bill"])
    (here / "assets" / "logo.svg").write_text("<svg/>")
    capsys.readouterr()
    assert main(["init", "offer"]) == 0
    assert "assets/logo.svg was there already, and is used" in capsys.readouterr().err
    assert (here / "assets" / "logo.svg").read_text() == "<svg/>"
    config = load_from(here / "reportd.toml", {"HOME": str(here)}).config
    assert {"bill", "offer"} <= set(config.reports)


def test_a_configuration_with_faults_is_not_touched(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "reportd.toml").write_text("[http\n")
    assert main(["init", "bill"]) == 2
    assert "line 1" in capsys.readouterr().err
    assert files(here) == {"reportd.toml": "[http\n"}


def test_a_configuration_that_takes_no_section_is_not_touched(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inline = 'reports = {bill = {url = "http://127.0.0.1/"}}\n'
    (here / "reportd.toml").write_text(inline)
    assert main(["init", "offer"]) == 2
    assert 'add this by hand: [reports.offer]; template = "offer.html"' in capsys.readouterr().err
    assert files(here) == {"reportd.toml": inline}


def test_a_folder_that_cant_be_written_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "assets").write_text("a file, not a folder")
    assert main(["init", "bill"]) == 1
    assert "can't be written" in capsys.readouterr().err
