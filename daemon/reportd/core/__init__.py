"""The decisions of the daemon, as pure functions over frozen values.

Nothing here reads a clock, draws a random number, logs or performs I/O; time and randomness are arguments.
"""
