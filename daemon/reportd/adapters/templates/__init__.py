"""Turns a report template and its parameters into HTML; ``bounded.tasks`` and ``app.checks`` call ``templates``.

``filters`` and ``charts`` are for the templates themselves, mainly the built-in ones.
"""
