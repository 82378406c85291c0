"""The snapshot of the daemon, and what it comes to."""
