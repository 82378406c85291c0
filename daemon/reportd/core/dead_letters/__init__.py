"""What becomes of a dead letter, and when the jobs of one cause are tried again."""
