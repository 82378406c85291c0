"""Fixtures: the migrated database is made once, and each test runs on a copy."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.migrate import migrate
from tests.web.running import Running, open_running
from tests.web.secured import Secured, open_secured


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "reportd.db"

    async def make() -> None:
        async with open_database(f"sqlite:///{path}") as database:
            await migrate(database)

    trio.run(make)
    return path


@pytest.fixture
def folder(migrated: Path, tmp_path: Path) -> Path:
    """A folder for a service."""
    shutil.copy(migrated, tmp_path / "reportd.db")
    return tmp_path


@pytest.fixture
async def running(folder: Path) -> AsyncIterator[Running]:
    async with open_running(folder) as running:
        yield running


@pytest.fixture
async def secured(folder: Path) -> AsyncIterator[Secured]:
    async with open_secured(folder) as secured:
        yield secured
