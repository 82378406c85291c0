"""What a page may reach, and whether it can leave anything behind."""
