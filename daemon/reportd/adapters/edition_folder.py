"""Implements the port ``EditionStore`` in a folder: one archive for each report type."""

import zipfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from reportd.core.pages.editions import Edition

_HEAD = "edition.json"
_SOURCES, _ASSETS = "templates/", "assets/"

log = structlog.get_logger()


class EditionFolder:
    """The folder is made when the first edition is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def kept(self, report_type: str) -> Edition | None:
        try:
            with zipfile.ZipFile(self._path(report_type)) as archive:
                head = orjson.loads(archive.read(_HEAD))
                files = {name: archive.read(name) for name in archive.namelist()}
            sources = {name: text.decode() for name, text in _below(_SOURCES, files).items()}
            edition = Edition.of(head["template"], sources, _below(_ASSETS, files))
            return edition if edition.hash == head["hash"] else None
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - a damaged archive can raise anything, and must prevent no start
            log.warning("edition.not_read", reportType=report_type, error=f"{type(error).__name__}: {error}")
            return None

    def keep(self, report_type: str, edition: Edition) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(report_type)
        half = path.with_suffix(".new")
        try:
            with zipfile.ZipFile(half, "w") as archive:
                head = orjson.dumps({"template": edition.template, "hash": edition.hash})
                sources = {_SOURCES + name: text.encode() for name, text in edition.sources.items()}
                assets = {_ASSETS + name: data for name, data in edition.assets.items()}
                for name, data in {_HEAD: head, **sources, **assets}.items():
                    # Without a time of their own: an archive can't have one before 1980, where a clock may begin.
                    archive.writestr(zipfile.ZipInfo(name), data)
            half.replace(path)
        except OSError:
            with suppress(OSError):
                half.unlink()
            raise

    def remove_others(self, report_types: Collection[str]) -> None:
        """Remove what was kept of other report types than these, and what was left half written. Blocks."""
        wanted = {self._path(name) for name in report_types}
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path not in wanted:
                    path.unlink()

    def _path(self, report_type: str) -> Path:
        return self._folder / f"{report_type}.zip"


def _below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.removeprefix(folder): data for name, data in files.items() if name.startswith(folder)}
