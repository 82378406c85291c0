"""Finds the faults of a configuration that ``load`` can't see: in the files it names, and in JavaScript conditions.

``check-config``, ``doctor``, ``serve`` and each reload use it, so they refuse the same things in the same words.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

import reportd_web
from reportd.adapters.chromium.ready_conditions import invalid_conditions
from reportd.adapters.templates.templates import Templates
from reportd.adapters.worker_processes.checker import new_checker
from reportd.config import Config, ConfigError, Loaded
from reportd.intake.loaded_types import Draft, ReportTypes
from reportd.intake.report_types import ReportTypesReader
from reportd.intake.tokens import file_problems
from reportd.ports import INLINE_BYTES, BrowserError, Checker, EditionStore, Ready
from reportd.system.authorities import read_authorities
from reportd.system.permissions import EXPOSED

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Checked:
    """The report types of a valid configuration. ``unchecked``: why conditions could not be checked, or empty."""

    types: ReportTypes
    unchecked: str = ""


def folders_of(loaded: Loaded) -> list[Path]:
    """Return the folders in which files of report types are looked up."""
    return [*loaded.folders, Path(reportd_web.__file__).parent / "reports"]


class Checks:
    """``folders`` must be those of ``checker``. ``store``: of the editions of templates that were in force before."""

    def __init__(self, folders: Sequence[Path], checker: Checker, store: EditionStore | None = None) -> None:
        self._reader = ReportTypesReader(folders, Templates(folders), checker, store)

    async def check(self, loaded: Loaded, known: Config | None = None) -> Checked:
        """Check a configuration at a start. Small files are checked on the event loop, which nobody waits for yet."""
        return await self.judge(loaded, self.read(loaded.config, INLINE_BYTES), known, restore=True)

    def read(self, config: Config, inline_bytes: int = 0) -> Draft:
        """Read the files that it names, and check those of at most ``inline_bytes`` at once. Blocks."""
        draft = self._reader.draft(config, inline_bytes)
        path = config.auth.path(config.data_dir)
        for problem in () if path is None else file_problems(path):
            draft.fault("auth.tokens_file", problem)
        ca_file = config.pool.ca_path(config.data_dir)
        if ca_file is not None and (problem := authorities_problem(ca_file)):
            draft.fault("pool.ca_file", problem)
        executable = config.pool.executable
        if executable and not (os.path.isfile(executable) and os.access(executable, os.X_OK)):  # noqa: PTH113
            text = "can't be run; accepted: the path of a Chromium, e.g. Debian's chromium-headless-shell, or nothing"
            draft.fault("pool.executable", f"{executable} {text}")
        return draft

    async def judge(
        self, loaded: Loaded, draft: Draft, known: Config | None = None, *, restore: bool = False
    ) -> Checked:
        """Check the rest in worker processes. The conditions of ``known`` need no check. ``restore``: a faulty template
        is used as it was kept.

        Raises ConfigError with all that is wrong; UnavailableError when no worker process can check it.
        """
        await self._reader.judge(draft, restore=restore)
        unchecked = await _judge_conditions(loaded.config, known, draft)
        if draft.problems:
            raise ConfigError([replace(problem, where=loaded.where(problem.key)) for problem in draft.problems])
        for source in loaded.secret_files:
            if source.exposed:
                log.warning("config.secret_exposed", key=source.key, file=str(source.file), detail=EXPOSED)
        return Checked(draft.types(), unchecked)


def authorities_problem(path: Path) -> str:
    """Return what is wrong with a file of authorities; empty if nothing is."""
    accepted = "accepted: a PEM file with the certificate of at least one authority"
    try:
        read_authorities(path)
    except OSError as error:
        return f"{path} can't be read: {error.strerror}; {accepted}"
    except ValueError as error:
        return f"{path} {error}; {accepted}"
    return ""


async def check(loaded: Loaded) -> Checked:
    """Check a configuration for the command line. Raises as ``Checks.judge`` does."""
    folders = folders_of(loaded)
    checker = new_checker(folders)
    try:
        return await Checks(folders, checker).check(loaded)
    finally:
        await checker.aclose()


async def _judge_conditions(config: Config, known: Config | None, draft: Draft) -> str:
    """Check conditions in a browser. Return why they can't be checked, or an empty text."""
    passed = set() if known is None else set(_conditions(known).values())
    wanted = {key: condition for key, condition in _conditions(config).items() if condition not in passed}
    if not wanted:
        return ""
    pool = config.pool
    try:
        rejected = await invalid_conditions(set(wanted.values()), pool.executable, pool.start_timeout_seconds)
    except BrowserError as error:
        return str(error)
    for key, condition in wanted.items():
        if condition in rejected:
            accepted = "one expression of JavaScript" if condition.kind == "expression" else "a CSS selector"
            text = (
                f"the browser does not understand it: {rejected[condition]}; accepted: {condition.kind}: and {accepted}"
            )
            draft.fault(key, text)
    return ""


def _conditions(config: Config) -> Mapping[str, Ready]:
    """Return the expressions and selectors, by key."""
    conditions = {f"reports.{name}.ready": report.ready for name, report in config.reports.items()}
    conditions |= {f"reports.{name}.expect": report.expect for name, report in config.reports.items() if report.expect}
    return {key: condition for key, condition in conditions.items() if condition.kind in ("expression", "selector")}
