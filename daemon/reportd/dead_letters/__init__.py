"""What becomes of messages that failed for good: triage, redrive, quarantine, and what an operator does with them."""
