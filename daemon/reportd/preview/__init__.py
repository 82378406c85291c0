"""Shows a report type to the person who writes it: prints it as a job would be, again after each change.

``preview`` is the loop; no queue and no database takes part.
"""
