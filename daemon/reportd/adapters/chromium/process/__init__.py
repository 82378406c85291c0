"""The process of a browser: started, confined, killed. ``chromium.launcher`` calls it."""
