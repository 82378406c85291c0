"""The circuit breaker of a report type, as a pure state machine. Called by breakers; its store keeps the values."""
