"""Turns a queue message into a stored PDF: receive, claim, admit, render, store, settle. The app wires it."""
