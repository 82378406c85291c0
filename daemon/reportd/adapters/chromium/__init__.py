"""Headless Chromium: browser processes, DevTools protocol, pages. Other packages call only ``open_launcher``."""

from reportd.adapters.chromium.launcher import ChromiumSettings, open_launcher

__all__ = ["ChromiumSettings", "open_launcher"]
