"""What a template is told of the job it renders, beside the parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

OWN_NAMES = ("parameters", "task_id", "user_id", "submitted_at", "now", "locale", "timezone")


@dataclass(frozen=True, slots=True)
class TemplateContext:
    """A field that is empty or None gives the template no name.

    ``submitted_at`` and ``now`` (when the attempt began) are in seconds since the epoch. ``locale``: a BCP 47 tag.
    ``timezone``: an IANA name.
    """

    task_id: str = ""
    user_id: str = ""
    submitted_at: float | None = None
    now: float | None = None
    locale: str = ""
    timezone: str = ""

    def names(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the top-level names of a template. Times are aware datetimes in the job's zone, else in UTC.

        A parameter hides a name of ours, so that a template that was written before ours existed does not change.
        Raises ZoneInfoNotFoundError when the machine does not have the zone.
        """
        given = {"task_id": self.task_id, "user_id": self.user_id, "locale": self.locale, "timezone": self.timezone}
        times = {"submitted_at": self.submitted_at, "now": self.now}
        zone = ZoneInfo(self.timezone) if self.timezone else UTC
        return {
            "parameters": parameters,
            **{name: text for name, text in given.items() if text},
            **{name: _moment(at, zone) for name, at in times.items() if at is not None},
            **parameters,
        }


def _moment(at: float, zone: tzinfo) -> datetime:
    try:
        return datetime.fromtimestamp(at, zone)
    except (
        OverflowError,
        ValueError,
    ):  # any producer says when it was: the last hour of 9999 is year 10000 in the east
        return datetime.fromtimestamp(at, UTC)


NO_CONTEXT = TemplateContext()
