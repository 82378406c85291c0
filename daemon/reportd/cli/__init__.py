"""The command line. ``main`` parses it; each other module is a command, or what commands share.

Commands import what they need when they run, so that ``reportd --version`` is quick.
"""
