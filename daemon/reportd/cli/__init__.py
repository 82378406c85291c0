"""The command line. ``main`` parses it; each other module is a command."""
