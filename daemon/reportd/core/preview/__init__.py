"""Finds the line of a file that an error speaks of, for the preview of a report type."""
