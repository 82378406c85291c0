"""What the doctor says about fonts, and the packages that bring them."""

from pathlib import Path

import pytest

from reportd.cli.fonts import SCRIPTS, scripts_in


def listed(family: str, *samples: str) -> str:
    return f"{family}\t{' '.join(f'{ord(one):x}' for one in ''.join(samples))}"


def test_a_script_is_covered_by_a_font_that_has_all_of_its_sample() -> None:
    samples = {script: sample for script, sample, _ in SCRIPTS}
    fonts = [
        "Inter\t20-7e a0-17f 20ac 370-3ff 400-4ff",
        *(listed(family, samples["Thai"]) for family in ("Noto Serif Thai", "Noto Sans Thai", "Loma", "Waree", "Loma")),
        listed("Half", samples["Hebrew"][:-1]),
        "Empty\t",
    ]
    found = {name: (ok, text) for name, ok, text in scripts_in(fonts)}
    assert found["Latin fonts"] == found["Greek fonts"] == found["Cyrillic fonts"] == (True, "Inter")
    assert found["Thai fonts"] == (True, "Loma, Noto Sans Thai, Noto Serif Thai and 1 more")
    assert found["Hebrew fonts"] == (False, "none: apt install fonts-noto-core")
    assert found["Emoji fonts"] == (False, "none: apt install fonts-noto-color-emoji")
    assert found["Chinese fonts"] == (False, "none: apt install fonts-noto-cjk")
    assert len(found) == len(SCRIPTS)


def test_without_fonts_every_script_is_a_fault() -> None:
    assert not any(ok for _, ok, _ in scripts_in([]))


ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("place", ["packaging/debian/control", "packaging/machine.sh", "docs/TEMPLATES.md"])
def test_what_the_doctor_names_is_installed_and_documented(place: str) -> None:
    """`make run`, `make test` and the package install all of it."""
    text = (ROOT / place).read_text()
    assert {package for _, _, package in SCRIPTS if package not in text} == set()
