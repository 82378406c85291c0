"""Text that every database can hold. Pages and foreign programs report errors in text of any kind."""


def storable(text: str) -> str:
    """Replace NUL, which PostgreSQL refuses, and half surrogate pairs, which UTF-8 can't encode."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
