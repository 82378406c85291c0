"""Pictures of a PDF's pages, for people who look at it in a browser."""

from typing import Protocol


class PagePictures(Protocol):
    """Makes pictures of the pages of a PDF."""

    async def sizes(self, pdf: bytes) -> tuple[tuple[int, int], ...]:
        """Return width and height of each page, in CSS pixels. Raises ValueError when it is no PDF."""
        ...

    async def png(self, pdf: bytes, page: int, scale: float) -> bytes:
        """Return a page as a PNG. ``page`` counts from 0; ``scale``: device pixels per CSS pixel.

        Raises ValueError when it is no PDF, or has no such page.
        """
        ...
