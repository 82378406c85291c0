"""The store of PDFs: a folder or an S3 bucket. ``app`` opens it; ``work``, ``intake`` and ``maintenance`` use it."""
