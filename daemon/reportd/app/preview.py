"""Puts the preview of a report type together: the daemon's own checks, worker processes and browsers, and a page.

No queue, no database and no data folder takes part, so it runs beside a daemon of the same configuration.
"""

import secrets
import tempfile
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import trio

from reportd.adapters.chromium import open_launcher
from reportd.adapters.egress.resolving import LookupThreads
from reportd.adapters.file_changes import watch_folders
from reportd.adapters.jwt_signer import JwtSigner
from reportd.adapters.page_pictures import PdfiumPictures
from reportd.adapters.worker_processes.checker import new_checker
from reportd.app import policies
from reportd.app.checks import Checks, folders_of
from reportd.app.startup import StartError
from reportd.browsers.pool import open_pool
from reportd.concurrency.nurseries import open_background
from reportd.config import Auth, Config, ConfigError, Loaded, Problem
from reportd.intake.catalogue import Catalogue
from reportd.ports import Checker
from reportd.preview.inputs import Subject, sample_of
from reportd.preview.preview import Preview
from reportd.work.attempt_tokens import AttemptTokens
from reportd_web.http.server import serve
from reportd_web.preview import create_preview_app

MAX_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to preview. ``parameters``: a file; None for the type's sample. ``fields``: of a submission.

    ``port``: on the loopback address; 0 for any that is free.
    """

    report_type: str
    parameters: Path | None
    fields: Mapping[str, str]
    port: int


async def run(loaded: Loaded, load: Callable[[], Loaded], wanted: Wanted, served: Callable[[str], None]) -> None:
    """Serve the preview until cancelled. ``load``: reads the configuration again; ``served`` gets the page's address.

    Raises StartError when the port can't be used, BrowserError when no browser can be started.
    """
    trio.socket.set_custom_hostname_resolver(LookupThreads())
    folders, path, stop = folders_of(loaded), secrets.token_urlsafe(16), trio.Event()
    pictures = PdfiumPictures()
    with tempfile.TemporaryDirectory(prefix="reportd-preview-") as data_dir:
        config = _settings(loaded.config, Path(data_dir))
        ports = _OwnPorts(policies.own_ports(config))
        async with (
            aclosing(new_checker(folders)) as checker,
            open_launcher(policies.chromium_settings(config), config.data_dir, ports.include) as launcher,
            open_pool(launcher, replace(policies.pool_settings(config), browsers=1, pages_per_browser=1)) as pool,
            open_background() as background,
        ):
            checker.start()
            reader = Reader(load, wanted, folders, checker)
            preview = Preview(wanted.report_type, reader.read, folders, pool, pictures, options=wanted.fields)
            app = create_preview_app(preview, pictures, path, stop)
            try:
                url = await background.start(serve, app, f"127.0.0.1:{wanted.port}", stop, MAX_CONNECTIONS)
            except OSError as error:
                text = (
                    f"--port {wanted.port} can't be used: {error.strerror}; accepted: another one, or 0 for a free one"
                )
                raise StartError(text) from error
            ports.own = int(url.rpartition(":")[2])
            files = [wanted.parameters] if wanted.parameters else []
            watch = partial(watch_folders, folders, preview.again, files=files, ignored=[loaded.config.data_dir])
            background.start_soon(watch)
            served(f"{url}/{path}/")
            await preview.run()


def _settings(config: Config, data_dir: Path) -> Config:
    """Return the configuration of the preview's browser: a folder of its own."""
    return config.model_copy(update={"data_dir": data_dir})


class _OwnPorts:
    """The ports that no page may reach: those of the daemon, and the preview's own."""

    def __init__(self, daemon: Callable[[str, int], bool]) -> None:
        self.own = 0
        self._daemon = daemon

    def include(self, address: str, port: int) -> bool:
        return port == self.own or self._daemon(address, port)


class Reader:
    """Reads a report type anew: configuration, template, schema. What other types have wrong does not matter."""

    def __init__(self, load: Callable[[], Loaded], wanted: Wanted, folders: list[Path], checker: Checker) -> None:
        self._load = load
        self._wanted = wanted
        self._folders = folders
        self._checker = checker
        self._checks = Checks(folders, checker)
        self._known: Config | None = None

    async def read(self) -> Subject:
        """Raises ConfigError, or UnavailableError."""
        loaded = only(self._load(), self._wanted.report_type)
        checked = await self._checks.check(loaded, self._known)
        self._known = loaded.config
        types = Catalogue(checked.types, self._checker, loaded.config.callbacks.allowed_hosts)
        keys = loaded.config.render_tokens
        tokens = AttemptTokens(JwtSigner(keys.issuer, keys.parsed()))
        ((name, report),) = loaded.config.reports.items()
        given = self._wanted.parameters
        return Subject(types, tokens, name, given or sample_of(name, report, self._folders), given=given is not None)


def only(loaded: Loaded, report_type: str) -> Loaded:
    """Return the configuration with that report type alone, by its name or an alias. Raises ConfigError.

    The file of the tokens is left out, too: its reader may not be allowed to see it, and nothing here needs it.
    """
    reports = loaded.config.reports
    names = [name for name, report in reports.items() if report_type in (name, *report.aliases)]
    if not names:
        message = f"there is no report type of this name; accepted: {', '.join(sorted(reports))}"
        raise ConfigError([Problem(loaded.where("reports"), f"reports.{report_type}", message)])
    chosen = {"reports": {names[0]: reports[names[0]]}, "auth": Auth()}
    return replace(loaded, config=loaded.config.model_copy(update=chosen))
