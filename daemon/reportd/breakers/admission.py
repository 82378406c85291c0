"""What a job gets from its breaker: the permission to render, or a deferral."""


class DeferredError(Exception):
    """The job can't be rendered now; its message may come again after ``seconds``. It has used no attempt (I3)."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Admission:
    """The permission to render one job.

    ``dedicated_browser``: the job has a browser of its own, so it is at fault if the browser dies. ``render_seconds``:
    None unless it succeeded.
    """

    def __init__(self, *, probe: bool) -> None:
        self.probe = probe
        self.dedicated_browser = False
        self.render_seconds: float | None = None

    def succeeded(self, seconds: float) -> None:
        """Record that the job was rendered within so many seconds. Call this last."""
        self.render_seconds = seconds
