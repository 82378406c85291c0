"""Counts and records what the parts do. It knows none of them: they report to it."""
