"""Text that every database can hold: pages and foreign programs report faults in text of any kind."""


def storable(text: str) -> str:
    """Without NUL, which PostgreSQL refuses, and without halves of surrogate pairs, which UTF-8 has no bytes for."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
