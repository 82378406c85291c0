"""The circuit breakers: admission for the worker, commands for the operator. ``core.breaker`` decides."""
