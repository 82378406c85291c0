"""The web interface of reportd: HTTP calls and pages. It decides nothing itself; it calls the parts it is given."""
