"""The use cases of the daemon: submit, get, list, cancel, retry; with the report types and the tokens. Web calls it."""
