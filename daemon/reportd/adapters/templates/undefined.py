"""What a fault says of a name that a template does not have: the names that there are, the near ones first."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from jinja2 import StrictUndefined, UndefinedError

from reportd.core.pages.template_context import OWN_NAMES
from reportd.core.text import cut

_SHOWN = 8
_LONGEST = 40
_UNKNOWN_NAME = re.compile(r"'(.+)' is undefined")


class HelpfulUndefined(StrictUndefined):
    """Says which fields an object has when it lacks one."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        message = super()._undefined_message
        fields = self._undefined_obj
        if self._undefined_hint or not isinstance(fields, Mapping):
            return message
        return message + accepted(str(self._undefined_name), fields)


def reason(fault: UndefinedError, parameters: Iterable[str]) -> str:
    """Return the fault's text; of a top-level name with those that there are."""
    text = str(fault)
    unknown = _UNKNOWN_NAME.fullmatch(text)
    return text + accepted(unknown[1], parameters, OWN_NAMES) if unknown else text


def accepted(name: str, known: Iterable[object], also: Iterable[str] = ()) -> str:
    """Return ``; accepted: …`` with the names like this one, or else with the first ones; empty if there are none.

    ``also``: names that are shown only when they are like this one.
    """
    names = [cut(str(one), _LONGEST) for one in known]
    near = _near(name, names, 0.6) or _near(name, also, 0.75)
    shown = near or sorted(names)[:_SHOWN]
    if not shown:
        return ""
    more = len(names) - len(shown)
    rest = f" and {more} more" if more and not near else ""
    return f"; accepted: {', '.join(shown)}{rest}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean …?`` with the known names like this one; empty if there are none."""
    near = _near(name, known, 0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _near(name: str, names: Iterable[str], cutoff: float) -> list[str]:
    lowered = {one.lower(): one for one in names}
    return [lowered[one] for one in get_close_matches(name.lower()[:_LONGEST], lowered, 3, cutoff)]
