"""Where the last sound edition of each template is kept, for a start that finds the files faulty."""

from typing import Protocol

from reportd.core.pages.editions import Edition


class EditionStore(Protocol):
    """The editions of this node. Calls block, and may raise OSError."""

    def kept(self, report_type: str) -> Edition | None:
        """Return the edition that was kept last; None if there is none, or if it can't be read."""
        ...

    def keep(self, report_type: str, edition: Edition) -> None:
        """Keep an edition in the place of the one before."""
        ...
