"""Whether an HTML document can leave anything behind in its page but itself.

Judged by its text alone, and strictly: what is called inert runs no script, opens no frame and sets nothing that
outlives the document; what is not may be harmless all the same. Attribute names and tags can't be written in any other
way than letter by letter, while attribute values can, so no value is looked at.
"""

import re
from dataclasses import dataclass

# Each opens a frame, or runs a script, or holds what is none of the document's own.
_TAGS = ("<script", "<iframe", "<frame", "<object", "<embed", "<portal", "<fencedframe")

# Event handlers; that other words match too, as in "second = 2", only costs time. So do words of more than 64 letters,
# which are looked at no further: the search takes no longer than the text is long. A meta element can set a policy for
# all that comes after it, or send the page elsewhere; one that names the encoding can't.
_ACTIVE = re.compile(r"on[a-z]{1,64}+(?:\s*+=|[a-z])|javascript:|<meta(?!\s+charset=[\"']?[\w-]+[\"']?\s*/?>)")


@dataclass(frozen=True, slots=True)
class Html:
    """A document, and whether it is inert: to find that out takes 20 ms a megabyte, so it is done where it is made."""

    text: str
    inert: bool


def is_inert(html: str) -> bool:
    """Certain when it says yes."""
    text = html.lower()
    return not any(tag in text for tag in _TAGS) and _ACTIVE.search(text) is None
