"""Reads the files of an edition: a template, all that it is made of, and the files that these ask for.

Each file is read once, and looked at again when all are there: so they are of one moment. Reading blocks; inspecting a
text may take any time. ``gather`` leaves both to its caller.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import dirname

from reportd.core.faults import FaultError
from reportd.core.pages.assets import AssetNameError, media_type, resolved
from reportd.core.pages.editions import MAX_BYTES, Edition
from reportd.core.pages.references import TemplateParts
from reportd.system.file_descriptors import none_left
from reportd.system.regular_files import read_regular

ASSETS = "assets"
"""The folder beside the configuration whose files every template may use."""

MAX_PROBLEMS = 20
TRIES = 5

TEMPLATES_ACCEPTED = "accepted: a Jinja template, and the filters that there are"

Signature = tuple[int, int, int, int, int] | None
"""Device, inode, size and times of change of a file; None if there is none. No tool can set the last one, ctime: files
that a build or ``cp -p`` gives the time of others are told apart by it.
"""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to inspect: a template, or a style sheet."""

    name: str
    content: str
    is_template: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """``edition``: None if there are ``problems``. ``signatures``: of every path that was looked at.

    ``changed_at``: the latest time, in seconds since the epoch, at which one of the files was written.
    """

    edition: Edition | None
    problems: tuple[str, ...]
    signatures: Mapping[Path, Signature]
    changed_at: float

    def is_current(self) -> bool:
        """Return whether the files are still as they were. Blocks."""
        return all(_signature_of(path) == before for path, before in self.signatures.items())


def gather(
    folders: Sequence[Path], template: str, also: Sequence[Path] = ()
) -> Generator[Text, TemplateParts | FaultError, Reading]:
    """Read the edition of a template; send it what is found in each text that it yields. Blocks.

    ``also``: paths that are looked at, too. Raises OSError when the process can open no more files.
    """
    for _ in range(TRIES):
        files = _Files(folders, template, signatures={path: _signature_of(path) for path in also})
        yield from files.read()
        reading = files.reading()
        if reading.is_current():
            return reading
    problem = f"{template}: its files change while they are read; accepted: files that stay as they are for a moment"
    return Reading(None, (problem,), reading.signatures, reading.changed_at)


def samples(folders: Sequence[Path], template: str, report_type: str) -> list[Path]:
    """Return where the sample of a report type may be: beside its template. The first that is there counts."""
    return [folder / dirname(template) / f"{report_type}.sample.json" for folder in folders]


def find_asset(folders: Sequence[Path], templates: Sequence[str], name: str) -> Iterator[tuple[Path, Path]]:
    """Yield each folder in which an asset of these templates is looked up, and the path there, in order.

    Beside the template itself comes first, then beside those that it is made of, then the folders ``assets``.
    """
    beside = dict.fromkeys(dirname(template_path(each) or "") for each in templates)
    for folder in [*(folder / each for each in beside for folder in folders), *(folder / ASSETS for folder in folders)]:
        yield folder, folder / name


def template_path(name: str) -> str | None:
    """Return the path, below a folder, of the template of that name, as Jinja reads it; None if it has none.

    ``/part.html`` is ``part.html``.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if not parts or ".." in parts or "\0" in name else "/".join(parts)


@dataclass(slots=True)
class _Files:
    folders: Sequence[Path]
    template: str
    sources: dict[str, str] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    signatures: dict[Path, Signature] = field(default_factory=dict)
    changed_at: float = 0.0
    size: int = 0
    own_base: bool = False

    def reading(self) -> Reading:
        problems = tuple(self.problems[:MAX_PROBLEMS])
        edition = None if problems else Edition.of(self.template, self.sources, self.assets)
        return Reading(edition, problems, self.signatures, self.changed_at)

    def read(self) -> Generator[Text, TemplateParts | FaultError, None]:
        wanted: dict[tuple[str, str], bool] = {}
        pending = [(self.template, True)]
        while pending and not self.problems:
            name, required = pending.pop(0)
            if name in self.sources or not self._add_template(name, required=required):
                continue
            parts = yield Text(name, self.sources[name], is_template=True)
            if isinstance(parts, FaultError):
                self.problems.append(f"{parts.fault.detail}; {TEMPLATES_ACCEPTED}")
                return
            pending += [(each, True) for each in parts.templates] + [(each, False) for each in parts.optional]
            self.own_base |= parts.references.own_base
            wanted |= {(each, name): False for each in parts.references.optional}
            wanted |= {(each, name): True for each in parts.references.required}
        if self.own_base:
            return
        yield from self._add_assets([(each, "", name, required) for (each, name), required in wanted.items()])

    def _add_template(self, name: str, *, required: bool) -> bool:
        try:
            path = template_path(name)
            found = None if path is None else self._first((f, f / path) for f in self.folders)
            if found is not None:
                self.sources[name] = found.decode()
                return True
        except OSError as error:
            self._can_not_be_read(name, error)
        except UnicodeDecodeError as error:
            self.problems.append(f"{name}: UnicodeDecodeError: {error}; {TEMPLATES_ACCEPTED}")
        else:
            if required:
                where = name if name == self.template else f"{self.template}: {name}"
                folders = ", ".join(map(str, self.folders))
                self.problems.append(f"{where}: no such template in {folders}; {TEMPLATES_ACCEPTED}")
        return False

    def _add_assets(
        self, pending: list[tuple[str, str, str, bool]]
    ) -> Generator[Text, TemplateParts | FaultError, None]:
        """``pending``: each address, the style sheet that it is relative to, where it is written, and whether it is
        needed.
        """
        while pending and len(self.problems) < MAX_PROBLEMS and self.size <= MAX_BYTES:
            address, within, place, required = pending.pop(0)
            try:
                name = resolved(address, within)
            except AssetNameError as error:
                if required:
                    self.problems.append(f"{self._place(place, address)}: {address} {error}")
                continue
            if name is None or name in self.assets or not self._add_asset(name, address, place, required=required):
                continue
            if media_type(name) == "text/css":
                parts = yield Text(name, self.assets[name].decode(errors="replace"), is_template=False)
                if isinstance(parts, FaultError):
                    self.problems.append(parts.fault.detail)
                    return
                pending += [(each, name, name, True) for each in parts.references.required]
                pending += [(each, name, name, False) for each in parts.references.optional]

    def _add_asset(self, name: str, address: str, place: str, *, required: bool) -> bool:
        try:
            found = self._first(find_asset(self.folders, [*self.sources], name), within=True)
        except OSError as error:
            self._can_not_be_read(f"{self._place(place, address)}: {address}", error)
            return False
        if found is None:
            if required:
                self.problems.append(f"{self._place(place, address)}: {missing(address)}")
            return False
        self.assets[name] = found
        return True

    def _first(self, places: Iterator[tuple[Path, Path]], *, within: bool = False) -> bytes | None:
        """Return the contents of the first of these files that is there. Raises OSError."""
        for folder, path in places:
            try:
                data, status = read_regular(path, within=folder if within else None)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self.signatures[path] = _signature_of(path)
                continue
            except OSError:
                self.signatures[path] = _signature_of(path)
                raise
            self.signatures[path] = _signature(status)
            self.changed_at = max(self.changed_at, status.st_mtime)
            self.size += len(data)
            if self.size > MAX_BYTES:
                self.problems.append(
                    f"{self.template}: its files have more than {MAX_BYTES >> 20} MiB; accepted: smaller files"
                )
            return data
        return None

    def _can_not_be_read(self, what: str, error: OSError) -> None:
        if none_left(error):
            raise error
        accepted = "accepted: a file that the daemon may read, in the folder of the template or in assets"
        self.problems.append(f"{what} can't be read: {error.strerror}; {accepted}")

    def _place(self, name: str, address: str) -> str:
        """Return the file, and the line that has the address."""
        text = self.sources.get(name) or self.assets.get(name, b"").decode(errors="replace")
        before, found, _ = text.partition(address)
        return f"{name}, line {before.count(chr(10)) + 1}" if found else name


def missing(address: str) -> str:
    """Return what is said of a file that is not there."""
    return f"there is no file {address} beside the template or in the folder {ASSETS}"


def _signature_of(path: Path) -> Signature:
    """Return what tells a file from its earlier and later contents."""
    try:
        return _signature(path.stat())
    except OSError:
        return None


def _signature(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
