"""The circuit breaker of a report type, as a state machine."""
