"""The pages that people see in a browser, their buttons and their event stream."""
