"""Triage of dead letters, and the pace at which the jobs of one cause are redriven. Called by dead_letters."""
