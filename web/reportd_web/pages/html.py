"""Makes the HTML of every page. The templates escape every value, so outside text can't run as HTML (I11)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader
from markupsafe import Markup, escape
from starlette.responses import Response

from reportd.core.breaker import breaker
from reportd.core.jobs.job import timestamp
from reportd.core.jobs.transitions import JobState
from reportd.core.status.durations import format_duration
from reportd.core.status.health import At, Health, Name, Sentence, Since, Until, clock_time, fault_of, health_of
from reportd.core.status.snapshot import RECENT, JobView, Series, Snapshot
from reportd_web.api import wire

SECTIONS = ("verdict", "types", "queue", "letters", "recent", "nodes")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
)

SPARK_HEIGHT = 16

_BREAKER_NAMES = {
    breaker.BreakerState.CLOSED: "closed",
    breaker.BreakerState.OPEN: "OPEN",
    breaker.BreakerState.HALF_OPEN: "half-open",
    breaker.BreakerState.FORCED_OPEN: "held OPEN",
    breaker.BreakerState.FORCED_CLOSED: "held closed",
}
_BREAKER_LEVELS = {
    breaker.BreakerState.CLOSED: "good",
    breaker.BreakerState.OPEN: "bad",
    breaker.BreakerState.HALF_OPEN: "watch",
    breaker.BreakerState.FORCED_OPEN: "bad",
    breaker.BreakerState.FORCED_CLOSED: "watch",
}
_STATE_LEVELS = {
    JobState.QUEUED: "",
    JobState.RUNNING: "running",
    JobState.DEAD_LETTERED: "watch",
    JobState.SUCCEEDED: "good",
    JobState.QUARANTINED: "bad",
    JobState.CANCELLED: "soft",
}


@dataclass(frozen=True, slots=True)
class Search:
    """A search for jobs, as it was typed. ``trouble``: why it is not valid."""

    q: str = ""
    report_type: str = ""
    state: str = ""
    active: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Reader:
    """The reader of a page. ``login``: show the logout; ``operator``: show the buttons."""

    login: bool = False
    operator: bool = True


def page_templates(**names: Any) -> Environment:
    """Return the templates of our own pages, and the names that they have besides the values of a render."""
    templates = Environment(
        loader=PackageLoader("reportd_web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # They ship with the program, so checking the files for changes is useless.
        auto_reload=False,
    )
    templates.globals.update(brief=_brief, number=_number, **names)
    return templates


class Pages:
    """Renders the pages. One object for all: it caches the templates."""

    def __init__(self) -> None:
        self._templates = page_templates(
            breaker_level=_BREAKER_LEVELS,
            breaker_name=_BREAKER_NAMES,
            fault_of=fault_of,
            percent=_percent,
            sections=SECTIONS,
            spark=_spark,
            state_level=_STATE_LEVELS,
            states=tuple(JobState),
        )

    def status(
        self,
        snapshot: Snapshot,
        reader: Reader,
        search: Search,
        jobs: Sequence[JobView] | None,
        older: str = "",
    ) -> str:
        """Return the whole status page. ``jobs``: the listed jobs; ``older``: the address of the list's next page."""
        values = {"search": search, "jobs": jobs, "older": older, "login": reader.login, "operator": reader.operator}
        return self._render("status.html", snapshot.at, s=snapshot, verdict=health_of(snapshot), **values)

    def sections(self, snapshot: Snapshot, health: Health) -> dict[str, str]:
        """Return each section by name, without durations, which would change with time; the browser adds them."""
        search, jobs = Search(), snapshot.recent
        values = {"search": search, "jobs": jobs, "older": older_of(search, jobs or ())}
        return {
            name: self._render(f"sections/{name}.html", None, s=snapshot, verdict=health, **values) for name in SECTIONS
        }

    def job(self, now: float, reader: Reader, **values: Any) -> str:
        return self._render("job.html", now, login=reader.login, operator=reader.operator, **values)

    def refused(self, status: HTTPStatus, detail: str, back: str) -> str:
        """Return the page for a refused button."""
        return self._render("refused.html", 0.0, status=status, detail=detail, back=back)

    def _render(self, template: str, now: float | None, **values: Any) -> str:
        """Without ``now``, durations are left empty."""
        functions: dict[str, Callable[..., Markup]] = {
            "since": partial(_since, now),
            "until": partial(_until, now),
            "sentence": partial(_sentence, now),
            "clock": _clock,
        }
        return self._templates.get_template(template).render(now=now, **functions, **values)


def page(html: str, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(html, int(status), {**HEADERS, **(headers or {})}, media_type="text/html")


def older_of(search: Search, jobs: Sequence[JobView]) -> str:
    """Return the address of the list's next page; empty if there is none."""
    if len(jobs) < RECENT:
        return ""
    fields = {"q": search.q, "type": search.report_type, "state": search.state}
    cursor = wire.cursor(jobs[-1].submitted_at, jobs[-1].task_id)
    return "/?" + urlencode({name: value for name, value in fields.items() if value} | {"cursor": cursor}) + "#recent"


# --- values of the templates -------------------------------------------------------------------------------------


def _since(now: float | None, at: float) -> Markup:
    return _time("ago", at, "" if now is None else format_duration(now - at))


def _until(now: float | None, at: float) -> Markup:
    return _time("left", at, "" if now is None else format_duration(at - now))


def _time(kind: str, at: float, text: str) -> Markup:
    """``status.js`` keeps its text up to date."""
    return Markup('<time class="{}" datetime="{}">{}</time>').format(kind, timestamp(at), text)


def _clock(at: float) -> Markup:
    moment = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S} UTC</time>').format(timestamp(at), moment)


def _sentence(now: float | None, parts: Sentence) -> Markup:
    return Markup("").join(_part(now, part) for part in parts)


def _part(now: float | None, part: str | Name | At | Since | Until) -> Markup:
    match part:
        case At(at):
            return Markup('<time datetime="{}">{}</time>').format(timestamp(at), clock_time(at))
        case Since(at):
            return _since(now, at)
        case Until(at):
            return _until(now, at)
        case Name(text):
            return Markup("<b>{}</b>").format(text)
        case _:
            return escape(part)


def _brief(seconds: float) -> str:
    """Return a duration: ``84 ms``, ``1.4 s``, ``12 s``, ``3 min 5 s``."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:  # noqa: PLR2004 - two digits are enough
        return f"{seconds:.1f} s"
    return f"{round(seconds)} s" if seconds < 100 else format_duration(seconds)  # noqa: PLR2004


def _number(value: float) -> str:
    """Return it with narrow spaces between the thousands (ISO 80000-1)."""
    return f"{round(value):,}".replace(",", "\u202f")


def _percent(part: int, whole: int) -> str:
    """Return the share. Only none at all is 0 %, and only all of them 100 %."""
    share = 100 * part / whole
    return f"{math.ceil(share) if share < 1 else math.floor(share)} %"


def _spark(series: Series) -> Markup:
    """Return the last hour as a line, the newest minute on the right, in whole units: a screen shows no finer ones."""
    counts = (*series.minutes[:-1], series.now)
    top = max(1, *counts)
    points = [(60 - len(counts) + i, SPARK_HEIGHT - round(SPARK_HEIGHT * n / top)) for i, n in enumerate(counts)]
    # A level stretch needs only its ends.
    bends = [p for p, q, r in zip(points[1:], points, points[2:], strict=False) if not p[1] == q[1] == r[1]]
    line = " ".join(f"{x} {y}" for x, y in dict.fromkeys((points[0], *bends, points[-1])))
    return Markup(
        '<svg viewBox="0 -1 60 18" preserveAspectRatio="none" role="img" aria-label="at most {}">'
        '<path d="M{} 16L{} {} 16"/><polyline points="{}"/></svg>'
    ).format(top, points[0][0], line, points[-1][0], line)
