"""A message becomes a PDF: receive, claim, admit, render, store, settle."""
