"""reportd's configuration: one TOML file and the environment in, one frozen and fully checked ``Config`` out.

Called by the command line and by ``app``; the rest of the daemon is handed the section it needs. ``load`` is the
only door: what comes out of it needs no further check.
"""

from reportd.config.file import find_file
from reportd.config.load import Loaded, load, load_from
from reportd.config.models import (
    Alerts,
    ArtifactStore,
    Auth,
    Breaker,
    Callbacks,
    Config,
    Database,
    Http,
    Log,
    Pool,
    QueueOptions,
    Shutdown,
    Triage,
)
from reportd.config.pdf import PdfOptions
from reportd.config.problems import ConfigError, Problem
from reportd.config.report_types import ReportType

__all__ = [
    "Alerts",
    "ArtifactStore",
    "Auth",
    "Breaker",
    "Callbacks",
    "Config",
    "ConfigError",
    "Database",
    "Http",
    "Loaded",
    "Log",
    "PdfOptions",
    "Pool",
    "Problem",
    "QueueOptions",
    "ReportType",
    "Shutdown",
    "Triage",
    "find_file",
    "load",
    "load_from",
]
