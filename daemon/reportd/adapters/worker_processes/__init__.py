"""Worker processes for untrusted input: they parse and check what others send, and render templates.

``checker`` is the daemon's side (``ports.Checker``), ``processes`` runs them, ``child`` is their program.
"""
