"""One page: load, wait until it is ready, print. ``chromium.browser`` opens pages."""
