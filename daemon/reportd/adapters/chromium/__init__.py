"""Headless Chromium: processes, the DevTools protocol and pages. ``open_launcher`` is all that others may use."""

from reportd.adapters.chromium.launcher import ChromiumSettings, open_launcher

__all__ = ["ChromiumSettings", "open_launcher"]
