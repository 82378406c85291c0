"""Counts and records what the parts of the daemon do. The parts report to it; it knows none of them."""
