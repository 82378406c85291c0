"""The bounded pool of browser pages. The app opens it with ``pool.open_pool``; the worker renders in its slots."""
