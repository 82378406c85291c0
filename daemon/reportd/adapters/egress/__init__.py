"""A browser's only way out: a SOCKS5 proxy that checks every connection (I10). ``chromium.browser`` opens it."""
