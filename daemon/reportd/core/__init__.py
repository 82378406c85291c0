"""The daemon's decisions, as pure functions over frozen values. Every other folder may call them.

Nothing here reads a clock, draws a random number, logs or performs I/O; time and randomness are arguments.
"""
