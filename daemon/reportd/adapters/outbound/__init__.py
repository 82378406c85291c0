"""HTTP to foreign servers: callbacks and alerts. ``app`` opens the clients, ``notify`` sends."""
