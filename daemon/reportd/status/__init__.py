"""Looks at all parts and says how the daemon is: for the page, Prometheus, systemd and the autoscaler."""
