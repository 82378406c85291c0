"""When people are alerted, and what an alert says."""
