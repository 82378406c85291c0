"""The only way out of a browser: a proxy that judges every connection (I10)."""
