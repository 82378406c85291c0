"""Connections and answers below the application."""
