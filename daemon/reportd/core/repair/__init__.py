"""Repair of malformed messages and parameters. Called by the triage of dead letters."""
