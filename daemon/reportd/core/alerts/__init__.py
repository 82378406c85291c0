"""When a channel sends an alert, and the text of the alert. Called by notify; the alert store keeps the incidents."""
