"""Texts of bounded length: pages, browsers and messages choose theirs."""


def cut(text: str, chars: int) -> str:
    """Return the text with at most ``chars`` characters; an ellipsis shows that there were more."""
    return text if len(text) <= chars else f"{text[: chars - 1]}…"
