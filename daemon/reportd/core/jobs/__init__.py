"""The job: its submission, message, states, and what follows a failed attempt. Called by nearly every other folder."""
