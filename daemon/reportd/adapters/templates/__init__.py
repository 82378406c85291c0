"""Turns a report template and its parameters into HTML; ``worker_processes.tasks`` and ``app.checks`` call it.

``filters`` and ``charts`` are for the templates themselves, mainly the built-in ones.
"""
