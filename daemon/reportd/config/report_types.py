"""The ``[reports.NAME]`` table, and the report types that ship with the daemon.

Called by ``models``; the rest of the daemon reads ``ReportType``.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from reportd.config.page_parameters import BodyForm, InjectedName, Method, method_conflicts
from reportd.config.pdf import PdfOptions
from reportd.config.render_tokens import TokenWhere, place_conflicts, place_text
from reportd.config.section import Accepts, Conflict, FromFile, Section
from reportd.config.values import (
    Cookies,
    Count,
    Flag,
    Headers,
    Hosts,
    Number,
    SecretUrl,
    SqsUrl,
    below_folder,
    split_url,
)
from reportd.core.jobs.job import REPORT_TYPE
from reportd.core.jobs.options import LOCALE_ACCEPTS, ZONE_ACCEPTS, canonical_locale, canonical_zone
from reportd.core.jobs.warnings import WarningKind
from reportd.core.pages.network import NetworkRule, normal_host
from reportd.ports import Ready

BUILT_IN: dict[str, dict[str, Any]] = {
    name: {"template": f"{name}.html", "parameters_schema": f"{name}.schema.json"}
    for name in ("sales_summary", "user_activity", "invoice", "account_ledger", "dashboard")
}

NEWER = frozenset(BUILT_IN) - {"sales_summary", "user_activity"}
"""Built-in types that came later. A type of one's own may have had the name before, so it keeps it."""

Option = Literal[
    "locale",
    "timezone",
    "fileName",
    "pdf.format",
    "pdf.landscape",
    "pdf.margin",
    "pdf.scale",
    "pdf.page_ranges",
]
"""What a job may say for itself, where its report type allows it."""

_PLACEHOLDERS = ("params", "taskId", "userId")
_STATUSES = range(100, 600)
_MAX_VIEWPORT = 20000


def _ready(value: Any) -> Ready:
    if isinstance(value, Ready):
        return value
    if not isinstance(value, str):
        raise ValueError("is not a text")  # noqa: TRY004 - pydantic reports ValueError
    kind, colon, argument = value.partition(":")
    argument = argument.strip()
    if kind in ("load", "networkidle", "stable", "page") and not colon:
        return Ready(kind)
    if kind in ("selector", "expression", "event"):
        if not argument:
            raise ValueError(f"names no {kind}")
        return Ready(kind, argument)
    raise ValueError("is no such condition")


def _expected(value: Any) -> Ready | None:
    if value is None or isinstance(value, Ready):
        return value
    if not isinstance(value, str):
        raise ValueError("is not a text")  # noqa: TRY004 - pydantic reports ValueError
    if not value:
        return None
    kind, _, argument = value.partition(":")
    if kind not in ("selector", "text"):
        raise ValueError("is no such expectation")
    if not argument.strip():
        raise ValueError(f"names no {kind}")
    return Ready(kind, argument.strip())


def _redirects(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, list | tuple):
        raise ValueError("is neither true nor false, nor a list")  # noqa: TRY004 - pydantic reports ValueError
    if not all(isinstance(path, str) and re.fullmatch(r"/[^\s?#]*", path) for path in value):
        raise ValueError("has an entry that is no path")
    return tuple(value)


def _viewport(value: Any) -> tuple[int, int] | None:
    if value is None or isinstance(value, tuple):
        return value
    if value == "":
        return None
    match = re.fullmatch(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})", value) if isinstance(value, str) else None
    if match is None or max(int(match[1]), int(match[2])) > _MAX_VIEWPORT:
        raise ValueError("is no size")
    return int(match[1]), int(match[2])


def _page_url(text: str) -> str:
    if not text:
        return text
    parts = split_url(re.sub(r"[{}]", "_", text), ("http", "https"))
    for placeholder in re.findall(r"\{[^{}]*\}|[{}]", text):
        if placeholder[1:-1] not in _PLACEHOLDERS:
            raise ValueError("has a brace that is part of no known placeholder (a bare brace is %7B or %7D)")
    if re.search(r"[{}]", text[: len(parts.scheme) + 3 + len(parts.netloc)]):
        raise ValueError("has a placeholder in its host; parameters must not choose the host")
    try:
        normal_host(parts.hostname or "")
    except ValueError:
        raise ValueError("has a host that is neither an address nor a name") from None
    return text


def _alias(text: str) -> str:
    if not REPORT_TYPE.fullmatch(text):
        raise ValueError("is not a valid name")
    return text


def _statuses(value: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list")  # noqa: TRY004 - pydantic reports ValueError
    return tuple(_status_range(item) for item in value)


def _status_range(item: Any) -> tuple[int, int]:
    if isinstance(item, int) and _STATUSES.start <= item < _STATUSES.stop:
        return item, item
    match = re.fullmatch(r"([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?", item) if isinstance(item, str) else None
    if match is None:
        raise ValueError("has an entry that is neither a status nor a range")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise ValueError("has a range whose end is below its start")
    return first, last


PageUrl = Annotated[
    str,
    FromFile,
    Accepts("an http(s):// URL, with {params}, {taskId} and {userId} where they are wanted, or nothing"),
    AfterValidator(_page_url),
]
ReadyWhen = Annotated[
    Ready,
    Accepts("load, networkidle, stable, selector:CSS, expression:JS (until truthy), event:NAME (on window) or page"),
    BeforeValidator(_ready),
]
Expected = Annotated[
    Ready | None,
    Accepts("selector:CSS or text:WORDS, or nothing"),
    BeforeValidator(_expected),
]
Redirects = Annotated[
    bool | tuple[str, ...],
    Accepts('true, false, or a list of paths, e.g. ["/login", "/reports/new"]'),
    BeforeValidator(_redirects),
]
Viewport = Annotated[
    tuple[int, int] | None,
    Accepts("WIDTHxHEIGHT in CSS pixels, each from 10 to 20000, e.g. 1280x720, or nothing"),
    BeforeValidator(_viewport),
]
FailOn = Annotated[
    tuple[WarningKind, ...],
    Accepts(f"a list of {', '.join(WarningKind)}"),
]
Locale = Annotated[
    str,
    Accepts(f"{LOCALE_ACCEPTS}, or nothing"),
    AfterValidator(lambda text: text and canonical_locale(text)),
]
TimeZone = Annotated[
    str,
    Accepts(f"{ZONE_ACCEPTS}, or nothing"),
    AfterValidator(lambda text: text and canonical_zone(text)),
]
Allowed = Annotated[tuple[Option, ...], Accepts(f"a list of {', '.join(get_args(Option))}")]
FileName = Annotated[
    str, Accepts("a file's path below the configuration's folder, or nothing"), AfterValidator(below_folder)
]
Statuses = Annotated[
    tuple[tuple[int, int], ...],
    Accepts('a list of statuses and ranges from 100 to 599, e.g. ["400-499", "503"]'),
    BeforeValidator(_statuses),
]
Aliases = Annotated[
    tuple[Annotated[str, AfterValidator(_alias)], ...],
    Accepts("a list of names of lower-case letters, digits and underscores"),
]


class ReportType(Section):
    """The source of a report's page, the hosts it may reach, when it is ready, and how it is printed.

    ``max_concurrency`` 0 means no limit but the slots; an empty ``isolation`` means the pool's.
    """

    template: FileName = ""
    url: PageUrl = ""
    parameters_schema: FileName = ""
    aliases: Aliases = ()
    allowed_hosts: Hosts = ()
    timeout_seconds: Number = Field(60.0, ge=0.1, le=3600)
    timeout_p99_factor: Number = Field(0.0, ge=0, le=1000)
    max_concurrency: Count = Field(0, ge=0, le=4096)
    queue_url: SqsUrl = ""
    callback_url: SecretUrl = ""
    isolation: Literal["", "page", "context", "browser", "container"] = ""
    method: Method = "GET"
    body: BodyForm = "json"
    inject: InjectedName = ""
    ready: ReadyWhen = Ready()
    delay_seconds: Number = Field(0.0, ge=0, le=60)
    headers: Headers = Field(default_factory=dict)
    header_hosts: Hosts = ()
    cookies: Cookies = Field(default_factory=dict)
    token: TokenWhere = None
    media: Literal["print", "screen"] = "print"
    max_page_bytes: Count = Field(104857600, ge=1024, le=4294967296)
    allow_redirects: Redirects = False
    expect: Expected = None
    viewport: Viewport = None
    device_scale_factor: Number = Field(1.0, ge=0.5, le=4)
    reduced_motion: Flag = True
    fail_on_status: Statuses = ((400, 599),)
    fail_on: FailOn = ()
    fail_on_resource_errors: Flag = False
    fail_on_script_errors: Flag = False
    evidence: Flag = False
    allow: Allowed = ("locale", "timezone", "fileName")
    locale: Locale = ""
    timezone: TimeZone = ""
    pdf: PdfOptions = PdfOptions()

    @property
    def hosts(self) -> tuple[str, ...]:
        """All host patterns that the page may reach, normalised, including the URL's own host at its port."""
        return tuple(sorted(map(str, NetworkRule.of(self.allowed_hosts, self.url).patterns)))

    @property
    def failures(self) -> frozenset[WarningKind]:
        """The warnings that are faults; ``fail_on_resource_errors`` and ``fail_on_script_errors`` are older keys."""
        failures = set(self.fail_on)
        if self.fail_on_resource_errors:
            failures |= {WarningKind.RESOURCES, WarningKind.FONTS}
        if self.fail_on_script_errors:
            failures.add(WarningKind.SCRIPTS)
        return frozenset(failures)

    def redacted(self) -> dict[str, Any]:
        """Return the table as in the file, with each key in the file's form."""
        return super().redacted() | {
            "ready": _condition(self.ready),
            "expect": _condition(self.expect) if self.expect else "",
            "token": place_text(self.token),
            "viewport": "{}x{}".format(*self.viewport) if self.viewport else "",
            "fail_on_status": [
                str(first) if first == last else f"{first}-{last}" for first, last in self.fail_on_status
            ],
        }

    def conflicts(self) -> Iterator[Conflict]:
        """Report zero or two sources of the page, cookies without a URL, and a delay that leaves no time to render."""
        if self.template and self.url:
            yield Conflict(("url", "template"), "is set together with template; accepted: one of them")
        if not self.template and not self.url:
            yield Conflict(("template", "url"), "is missing, and so is url; accepted: one of them")
        if self.cookies and not self.url:
            text = "is set, but a template's page has no address to send them to; accepted: cookies for a url"
            yield Conflict(("cookies", "url"), text)
        yield from method_conflicts(self.method, self.body, self.url)
        yield from place_conflicts(self.token, self.url, self.headers, self.cookies)
        if self.delay_seconds >= self.timeout_seconds:
            text = f"leaves no time to render; accepted: less than timeout_seconds ({self.timeout_seconds:g})"
            yield Conflict(("delay_seconds", "timeout_seconds"), text)
        for conflict in self.pdf.conflicts():
            yield Conflict(tuple(f"pdf.{key}" for key in conflict.keys), conflict.message)


def _condition(condition: Ready) -> str:
    return f"{condition.kind}:{condition.argument}" if condition.argument else condition.kind
