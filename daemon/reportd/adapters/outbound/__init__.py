"""HTTP to other people's servers: callbacks and alerts."""
