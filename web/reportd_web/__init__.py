"""The HTTP face of reportd. It asks ``reportd.service`` for everything and decides nothing itself."""
