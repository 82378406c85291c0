"""What `make deb` has made."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def package() -> Path:
    """The newest one."""
    found = sorted((ROOT / "dist").glob("reportd_*.deb"), key=lambda file: file.stat().st_mtime)
    assert found, "make deb builds it"
    return found[-1]
