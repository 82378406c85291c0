"""The process of a browser: started, confined, killed."""
