"""JSON Schemas of report types: compiled, checked for slips, and applied."""
