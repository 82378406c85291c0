"""``reportd --version`` names the version and the git revision it is from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reportd

ROOT = Path(__file__).parents[2]


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package's own file, elsewhere."""
    folder = tmp_path / "daemon" / "reportd"
    folder.mkdir(parents=True)
    shutil.copy(reportd.__file__, folder)
    return folder


def said(package: Path) -> str:
    command = [sys.executable, "-c", "import reportd; print(reportd.revision())"]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_checkout_asks_git() -> None:
    assert reportd.revision().removesuffix("-dirty") == git("rev-parse", "--short=12", "HEAD")


def test_what_was_built_has_it_in_a_file(package: Path) -> None:
    (package / "revision").write_text("0123456789ab\n")
    assert said(package) == "0123456789ab"


def test_elsewhere_it_is_unknown(package: Path) -> None:
    """Not that of whatever checkout the folder may lie in."""
    assert said(package) == ""


def test_the_command_line_says_both() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reportd.cli.main", "--version"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == f"reportd {reportd.__version__} ({reportd.revision()})\n"
