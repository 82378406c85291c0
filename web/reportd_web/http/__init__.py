"""The HTTP server below the application: connections, their limit, and responses."""
