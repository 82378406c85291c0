"""Tells people: callbacks for those who asked for a report, alerts for those who run the daemon."""
