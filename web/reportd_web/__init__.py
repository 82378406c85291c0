"""The HTTP face of reportd. It asks ``reportd.intake`` for everything and decides nothing itself."""
