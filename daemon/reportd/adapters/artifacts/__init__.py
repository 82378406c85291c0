"""Where the PDFs are: a folder or a bucket of S3."""
