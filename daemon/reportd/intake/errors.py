"""Why a use case of ``service`` is refused."""

from reportd.core.jobs.transitions import JobState


class KeyReusedError(Exception):
    """The same Idempotency-Key came with a different request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used by the same user for a different request")


class StillQueuedError(Exception):
    """The job waits, and its message is not lost as far as can be told."""

    def __init__(self) -> None:
        super().__init__("the job waits in the queue; if its message is lost, it is sent again by itself")


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
    """The PDF ought to be in the store, and is not."""

    def __init__(self) -> None:
        super().__init__("the PDF was stored and is not past its retention, but the artifact store does not have it")
