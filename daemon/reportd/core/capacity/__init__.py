"""How many jobs may wait, and how many browsers and nodes the work needs. Called by intake, browsers and status."""
