"""Repairs messages and parameters that their producers got wrong."""
