"""Worker processes for what may cost anything: checking what others send, and making pages of it.

``checker`` is the daemon's side, ``processes`` starts and ends them, ``child`` is their program, ``tasks`` their work.
"""
