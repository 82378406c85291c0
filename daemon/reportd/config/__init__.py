"""The configuration: reads one TOML file and the environment into one frozen, fully checked ``Config``.

Called by ``cli`` and ``app``; other folders get the section they need. Only ``load`` builds a ``Config``.
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
