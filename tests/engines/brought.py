"""Engines that are brought from their registries when a test first asks for them, and kept in `.engines/`."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".engines"

ELASTICMQ = "1.7.1"
OLD_ELASTICMQ = "1.5.7"
"""It refuses a group on a standard queue, as SQS did until 2025, and does not know every attribute."""

VERSITYGW = "1.8.0"

CHARTS = {
    "chart.js": ("4.6.1", "dist/chart.umd.min.js"),
    "echarts": ("6.1.0", "dist/echarts.min.js"),
    "highcharts": ("13.1.1", "highcharts.js"),
}
"""Libraries that draw charts in a page: version, and the file that a page loads."""

PAGE_LIBRARIES = {
    "react": ("18.3.1", "umd/react.production.min.js"),
    "react-dom": ("18.3.1", "umd/react-dom.production.min.js"),
    "dayjs": ("1.11.13", "dayjs.min.js"),
    "antd": ("6.6.8", "dist/antd.min.js"),
}
"""Libraries of which a product's own page is made, in the order in which it loads them."""

JOSE = "6.2.18"
"""A library that verifies JWTs on Node."""

BRING_SECONDS = 900.0
"""Go compiles for minutes where the cores are busy."""


def elasticmq(version: str = ELASTICMQ) -> Path:
    """The folder of its jars, from Maven Central."""

    def bring(folder: Path) -> None:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        pom = Path(__file__).with_name("pom.xml")
        _run("mvn", "-B", "-q", "-f", pom, goal, f"-DoutputDirectory={folder}", f"-Delasticmq.version={version}")

    return _kept(f"elasticmq-{version}", bring)


def versitygw() -> Path:
    """The program of the Versity S3 Gateway, an S3 server over a folder, built from its Go module."""

    def bring(folder: Path) -> None:
        module = f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW}"
        _run("go", "install", "-p", "2", module, GOBIN=str(folder))

    return _kept(f"versitygw-{VERSITYGW}", bring) / "versitygw"


def chart_library(name: str) -> Path:
    """The file of a library that a page loads, from the registry of npm."""
    version, file = CHARTS[name]
    return _npm_package(name, version) / file


def page_library(name: str) -> Path:
    """The same, of a library of which a page is made."""
    version, file = PAGE_LIBRARIES[name]
    return _npm_package(name, version) / file


def jose() -> Path:
    """The folder of the package."""
    return _npm_package("jose", JOSE)


def _npm_package(name: str, version: str) -> Path:
    def bring(folder: Path) -> None:
        folder.mkdir()
        _run("npm", "pack", "--silent", "--pack-destination", folder, f"{name}@{version}")
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")

    return _kept(f"{name}-{version}", bring) / "package"


def _kept(name: str, bring: Callable[[Path], None]) -> Path:
    """The folder of that name. It is there whole or not at all, whoever else brings it at the same time."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}.") as made:
            bring(Path(made) / "new")
            if not folder.exists():
                (Path(made) / "new").rename(folder)
    return folder


def _run(program: str, *words: str | Path, **environment: str) -> None:
    if not shutil.which(program):
        pytest.fail(f"{program} is not here: packaging/machine.sh engines", pytrace=False)
    told = subprocess.run(
        ["nice", program, *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BRING_SECONDS,
        env={**os.environ, **environment},
    )
    if told.returncode:
        pytest.fail(f"{program} ended with {told.returncode}:\n{told.stdout[-2000:]}", pytrace=False)
