"""Adapters: one folder for each outside system. They implement ``ports``; only ``app`` and ``cli`` open them."""
