"""reportd: turns heavy report pages into PDFs."""

__version__ = "0.1.0"
