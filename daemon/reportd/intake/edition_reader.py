"""Reads editions of templates: in this process, or with a worker process that inspects the texts."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

import trio

from reportd.core.faults import FaultError, FaultKind
from reportd.core.pages.editions import Edition
from reportd.core.pages.references import TemplateParts, css_references
from reportd.core.pages.template_context import TemplateContext
from reportd.intake.edition_files import Reading, Text, find_asset, gather, missing, samples
from reportd.ports import Checker, UnavailableError
from reportd.system.file_descriptors import none_left
from reportd.system.regular_files import read_regular

READ_SECONDS = 20.0
SAMPLE_SECONDS = 20.0

SETTLE_SECONDS = 0.2
"""A file that was written within this time may be written further."""

SETTLE_TRIES = 5
MAX_READERS = 4
MAX_KNOWN = 500
"""Texts whose parts are kept."""

_SAMPLE_ID = "00000000-0000-4000-8000-000000000000"

T = TypeVar("T")
Steps = Generator[Text, TemplateParts | FaultError, Reading]


class Inspector(Protocol):
    """Inspects texts in this process: only those that are small."""

    def inspect(self, name: str, source: str) -> TemplateParts:
        """Compile a template. Return what it is made of. Raises FaultError when it can't be used."""
        ...


class EditionReader:
    """``folders``: where files are searched; they must be those of ``checker``."""

    def __init__(self, folders: Sequence[Path], templates: Inspector, checker: Checker) -> None:
        self.folders = folders
        self._templates = templates
        self._checker = checker
        self._readers = trio.CapacityLimiter(MAX_READERS)
        self._known: dict[tuple[str, bool, bytes], TemplateParts] = {}

    def read_here(self, template: str, report_type: str, inline_bytes: int) -> Reading | None:
        """Read and inspect an edition in this process; None if its texts have more than ``inline_bytes``. Blocks."""
        steps = self._steps(template, report_type)
        text = _step(steps, None)
        while isinstance(text, Text):
            inline_bytes -= len(text.content)
            if inline_bytes < 0:
                return None
            text = _step(steps, self._inspected(text))
        return text

    def _steps(self, template: str, report_type: str) -> Steps:
        return gather(self.folders, template, samples(self.folders, template, report_type))

    def _inspected(self, text: Text) -> TemplateParts | FaultError:
        if not text.is_template:
            return TemplateParts(references=css_references(text.content))
        try:
            return self._templates.inspect(text.name, text.content)
        except FaultError as error:
            return error

    async def read(self, template: str, report_type: str) -> Reading:
        """Read an edition; a worker process inspects it. Raises UnavailableError."""
        steps = self._steps(template, report_type)
        text = await self.blocking(partial(_step, steps, None))
        while isinstance(text, Text):
            text = await self.blocking(partial(_step, steps, await self._answer(text)))
        return text

    async def _answer(self, text: Text) -> TemplateParts | FaultError:
        """Return what is found in a text. One that was found sound is not inspected again: many types share a base."""
        key = text.name, text.is_template, sha256(text.content.encode(errors="replace")).digest()
        if key in self._known:
            return self._known[key]
        inspect = self._checker.inspect if text.is_template else self._checker.sheet
        try:
            parts = await inspect(text.name, text.content)
        except FaultError as error:
            return error
        self._known[key] = parts
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return parts

    async def try_out(self, edition: Edition, parameters: Mapping[str, Any], context: Mapping[str, str]) -> None:
        """Try whether an edition renders these parameters. Raises FaultError or UnavailableError."""
        now = time.time()
        told = TemplateContext(task_id=_SAMPLE_ID, user_id=_SAMPLE_ID, submitted_at=now, now=now, **context)
        await self._checker.html(edition, parameters, SAMPLE_SECONDS, told)

    async def find(self, edition: Edition, name: str) -> bytes:
        """Read a file whose name is computed in a template. Raises FaultError when it is not there.

        It is no part of the edition: only its page knows the name.
        """

        places = list(find_asset(self.folders, [*edition.sources], name))
        for _ in range(SETTLE_TRIES):
            try:
                data, changed_at = await self.blocking(partial(_first, places))
            except UnavailableError as error:
                raise FaultError(FaultKind.STORE_UNAVAILABLE, f"{name}: {error}") from error
            except FileNotFoundError:
                raise FaultError(FaultKind.TEMPLATE_ERROR, f"{edition.template}: {missing(name)}") from None
            except OSError as error:
                if none_left(error):
                    raise FaultError(FaultKind.OUT_OF_FILES, f"{name} can't be opened: {error}") from error
                detail = f"{edition.template}: {name} can't be read: {error.strerror}"
                raise FaultError(FaultKind.TEMPLATE_ERROR, detail) from error
            if (wait := unsettled_seconds(changed_at, time.time())) == 0:
                break
            await trio.sleep(wait)
        return data

    async def blocking(self, work: Callable[[], T], seconds: float = READ_SECONDS) -> T:
        """Do what may block in a thread. Raises UnavailableError when it takes longer than ``seconds``."""
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(work, limiter=self._readers, abandon_on_cancel=True)
        raise UnavailableError("templates", f"could not be read within {seconds:g} s")


def _step(steps: Steps, answer: TemplateParts | FaultError | None) -> Text | Reading:
    try:
        text: Text = next(steps) if answer is None else steps.send(answer)
    except StopIteration as end:
        reading: Reading = end.value
        return reading
    return text


def unsettled_seconds(changed_at: float, now: float, settle_seconds: float = SETTLE_SECONDS) -> float:
    """Return how long to wait until a file that was written at ``changed_at`` counts as written; 0 if it does."""
    wait = changed_at + settle_seconds - now
    return wait if 0 < wait <= settle_seconds else 0.0


def _first(places: Sequence[tuple[Path, Path]]) -> tuple[bytes, float]:
    """Return the first of these files that is there, and when it was written. Raises OSError."""
    for folder, path in places:
        try:
            data, status = read_regular(path, within=folder)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        return data, status.st_mtime
    raise FileNotFoundError


class EditionAssets:
    """The files of an edition, as its pages ask for them."""

    def __init__(self, edition: Edition, reader: EditionReader) -> None:
        self.template = edition.template
        self.edition = edition.hash
        self._edition = edition
        self._reader = reader

    async def find(self, name: str) -> bytes:
        """Return the contents of a file. Raises FaultError when it is not there."""
        known = self._edition.assets.get(name)
        return await self._reader.find(self._edition, name) if known is None else known
