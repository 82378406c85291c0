"""Handles messages that failed for good: triage, redrive and quarantine as background work, and the operator's calls.
The app starts the former, web calls the latter.
"""
