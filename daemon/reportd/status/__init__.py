"""Collects the state of all parts for the status page, Prometheus, systemd and the autoscaler."""
