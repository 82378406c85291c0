"""What a text for people must mention, whatever the words between are: keys, names and figures."""


def mentions(text: str, *parts: str) -> bool:
    """Return whether all these parts stand in the text, in this order."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
