"""The circuit breakers: admission for the worker, orders for the operator. ``core.breaker`` decides."""
