"""What a job is, how it is submitted, which states it passes, and what follows a failed attempt."""
