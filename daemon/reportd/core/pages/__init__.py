"""Which hosts a page may reach, and whether its HTML is inert. Called by config, work and the egress proxy."""
