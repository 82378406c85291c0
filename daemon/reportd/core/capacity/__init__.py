"""How much may wait, and how many browsers and nodes the work needs."""
