"""The HTTP calls of the public interface."""
