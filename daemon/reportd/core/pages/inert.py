"""Whether an HTML document is inert: it leaves nothing behind in its page.

The check reads only the text and is strict: an inert document runs no script, opens no frame and sets nothing that
outlives it; a document that fails the check may still be harmless. Tags and attribute names can't be escaped, but
attribute values can, so values are not checked.
"""

import re
from dataclasses import dataclass

# Each of these opens a frame, runs a script, or embeds foreign content.
_TAGS = ("<script", "<iframe", "<frame", "<object", "<embed", "<portal", "<fencedframe")

# Event handlers. Other matches, as in "second = 2", only cost time. So do words of more than 64 letters, which match
# after 64: so the search stays linear. A meta element can set a policy for the rest of the page, or redirect it; one
# that only names the encoding can't.
_ACTIVE = re.compile(r"on[a-z]{1,64}+(?:\s*+=|[a-z])|javascript:|<meta(?!\s+charset=[\"']?[\w-]+[\"']?\s*/?>)")


@dataclass(frozen=True, slots=True)
class Html:
    """A document, and whether it is inert. The check takes 20 ms per megabyte, so it is done where the HTML is made.

    ``refers``: it may ask for files of its template, and has their base address.
    """

    text: str
    inert: bool
    refers: bool = False


def is_inert(html: str) -> bool:
    """Return whether a document is inert. True is certain."""
    text = html.lower()
    return not any(tag in text for tag in _TAGS) and _ACTIVE.search(text) is None
