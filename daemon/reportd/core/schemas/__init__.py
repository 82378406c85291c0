"""JSON Schemas of report types: compile them, find misspelt keywords, check parameters. Called by intake and by the
worker processes of adapters.worker_processes.
"""
