"""Puts the parts together, starts them in order and stops them. ``lifecycle`` is the table of contents."""
