"""The snapshot of the daemon, and the findings drawn from it. Called by status, telemetry and the web pages."""
