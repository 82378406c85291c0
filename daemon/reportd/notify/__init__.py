"""Notifies people: callbacks for the clients who submitted a job, alerts for the operators. The app starts both."""
