"""The calls of the public interface."""
