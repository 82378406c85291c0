"""Repairs what nobody else settles: lost messages, unconfirmed jobs, PDFs past their retention."""
