"""The DevTools protocol over pipes."""
