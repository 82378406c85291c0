"""Periodic sweeps: send unconfirmed jobs, resend lost messages, remove PDFs past retention. The app starts them."""
