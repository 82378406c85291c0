"""What a PDF is called when it is downloaded, and the header that says so (RFC 6266).

Zone data is read at the first use of a zone and kept, as the data of a package.
"""

import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from reportd.core.jobs.job import Job

_ATTR_CHARS = "!#$&+-.^_`|~"
"""What an RFC 8187 value holds unescaped beside letters and digits."""


def file_name(job: Job) -> str:
    """Return the job's own name, else its type and the day of its submission in its zone, in UTC where it has none."""
    return job.options.file_name or _default_name(job)


def content_disposition(job: Job) -> str:
    """Return the value of ``Content-Disposition``: a name in ASCII, and the whole one where that differs."""
    name = file_name(job)
    fallback = _in_ascii(name, _default_name(job))
    header = f'inline; filename="{fallback}"'
    return header if fallback == name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def _default_name(job: Job) -> str:
    at = datetime.fromtimestamp(job.submitted_at, UTC)
    # A machine without this zone, and a day that no calendar has, is no reason to have no PDF.
    with suppress(ZoneInfoNotFoundError, OverflowError):
        at = at.astimezone(ZoneInfo(job.options.timezone or "UTC"))
    return f"{job.report_type}-{at.date()}.pdf"


def _in_ascii(name: str, instead: str) -> str:
    """Return the name without accents, and with ``_`` for what a client may not understand in quotes: RFC 6266,
    appendix D. ``instead`` of a name of which nothing would be left.
    """
    stem = unicodedata.normalize("NFKD", name[: -len(".pdf")])
    plain = "".join(char for char in stem if not unicodedata.combining(char))
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%/' else "_" for char in plain)
    return f"{plain}.pdf" if any(char.isalnum() for char in plain) else instead
