"""The machine and its service manager: files, memory, permissions, logs, systemd. It knows nothing about reports."""
