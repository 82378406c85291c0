"""Sets up the log, one line for each event: JSON for programs, columns for a terminal, fields for systemd's journal.

All events of a job have its taskId.
"""

import logging
import sys
from collections.abc import Callable

import structlog

from reportd.system.journal import Journal, prefixed, reaches
from reportd.system.log_throttle import ThrottleFilter

LEVELS = logging.getLevelNamesMapping()


class Threshold:
    """Drops events below a level, which may change while the daemon runs."""

    def __init__(self, level: str) -> None:
        self.set(level)

    def set(self, level: str) -> None:
        self._least = LEVELS[level.upper()]

    def __call__(self, _logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if LEVELS[event["level"].upper()] < self._least:
            raise structlog.DropEvent
        return event


def set_up(level: str, form: str) -> Callable[[str], None]:
    """Configure the log. Return a function that changes the level.

    ``form``: json, console or auto. ``auto`` means columns on a terminal, fields if stderr is the journal, else JSON.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    journal = form == "auto" and reaches(sys.stderr.fileno())
    renderer: structlog.typing.Processor = (
        # Its own choice, where rich is installed, prints the local variables, secrets included.
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else Journal()
        if journal
        else structlog.processors.JSONRenderer()
    )
    threshold = Threshold(level)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            threshold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if console else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # The libraries' own loggers: only warnings and errors.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Prefixed("%(name)s: %(message)s") if journal else logging.Formatter("%(name)s: %(message)s"))
    # While no descriptor is left, each server logs that ten times a second.
    handler.addFilter(ThrottleFilter("trio.serve_listeners"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    return threshold.set


class _Prefixed(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return prefixed(record.levelname.lower(), super().format(record))
