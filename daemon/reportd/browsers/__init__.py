"""The bounded pool of browser pages. ``pool.open_pool`` is what others use."""
