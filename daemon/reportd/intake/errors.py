"""The errors by which ``service`` refuses a use case."""

from reportd.core.jobs.transitions import JobState


class KeyReusedError(Exception):
    """The Idempotency-Key was used before, with a different request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used by the same user for a different request")


class StillQueuedError(Exception):
    """The job waits in the queue, and its message does not seem to be lost."""

    def __init__(self) -> None:
        super().__init__("the job waits in the queue; if its message is lost, the daemon sends it again")


class NotFoundError(Exception):
    """There is no such job."""

    def __init__(self) -> None:
        super().__init__("there is no such report")


class NotFinishedError(Exception):
    """The job has no PDF yet, or never will have one."""

    def __init__(self, state: JobState) -> None:
        super().__init__(f"the job is {state}")
        self.state = state


class GoneError(Exception):
    """The PDF is past its retention."""

    def __init__(self) -> None:
        super().__init__("the PDF is past its retention")


class MissingPdfError(Exception):
    """The PDF should be in the artifact store, but is not."""

    def __init__(self) -> None:
        super().__init__("the PDF was stored and is not past its retention, but the artifact store does not have it")
