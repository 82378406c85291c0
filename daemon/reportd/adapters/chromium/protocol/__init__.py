"""The DevTools protocol over pipes. ``chromium.browser`` and ``chromium.page`` call it."""
