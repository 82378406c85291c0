"""What an engineer would look at after a failed attempt, within bounds: a page chooses its words and their number."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from reportd.core.text import cut

MAX_LINES = 50
"""The last lines of the console that are kept."""

MAX_TEXT = 300
"""Characters of a line."""

MAX_ACTIVITY = 1000
"""Characters of the text that says what the page was doing."""

MAX_SCREENSHOT_BYTES = 512 * 1024
"""A larger screenshot is not kept."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of one failed attempt. ``screenshot``: a JPEG of the page, empty if there is none.

    ``console``: its last lines. ``requests``: those that failed, and why. ``activity``: what the page was doing, and
    what it waited for.
    """

    screenshot: bytes = field(default=b"", repr=False)
    console: tuple[str, ...] = field(default=(), repr=False)
    requests: tuple[str, ...] = ()
    activity: str = ""

    def within_bounds(self) -> "Evidence":
        """Return it without a screenshot that is too large, and with the activity cut."""
        screenshot = self.screenshot if len(self.screenshot) <= MAX_SCREENSHOT_BYTES else b""
        return Evidence(screenshot, self.console, self.requests, cut(self.activity, MAX_ACTIVITY))


class Console:
    """The last lines of a console, oldest first."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MAX_LINES)

    def add(self, level: str, words: Iterable[str]) -> None:
        """Add a line. ``words``: the values that were logged, each of any length."""
        # Cut each first: to look through megabytes for blanks would hold up the others.
        text = " ".join(word[:MAX_TEXT] for word in words)
        self._lines.append(cut(f"{level}: {' '.join(text.split())}", MAX_TEXT))

    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)
