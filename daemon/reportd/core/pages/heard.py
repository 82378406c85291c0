"""What a page says by ``window.reportd``: that it has failed and why, and how far it is.

The Chromium adapter passes on what comes from the page's own script; a page may say anything.
"""

import math
import re

from reportd.core.faults import Fault, FaultKind
from reportd.core.pages.documents import without_secrets
from reportd.core.text import cut

FAILED, PROGRESS = "failed:", "progress:"
"""How a message begins."""

MAX_SENT = 2000
"""Characters of a message that are read. A page may send megabytes, whatever our script in it lets through."""

MAX_REASON = 300
NO_REASON = "the page called reportd.fail() without a reason"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def heard(message: str) -> Fault | float | None:
    """Return the failure of the page, or its progress from 0 to 1; None for anything else."""
    message = message[:MAX_SENT]
    if message.startswith(FAILED):
        reason = _CONTROL.sub(" ", without_secrets(message.removeprefix(FAILED)))
        return Fault(FaultKind.PAGE_FAILED, cut(" ".join(reason.split()), MAX_REASON) or NO_REASON)
    if message.startswith(PROGRESS):
        try:
            progress = float(message.removeprefix(PROGRESS))
        except ValueError:
            return None
        return min(1.0, max(0.0, progress)) if math.isfinite(progress) else None
    return None
