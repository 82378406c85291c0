"""A report comes in: what may be asked of the daemon, by whom, for which report types. Web calls it."""
