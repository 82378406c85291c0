"""The error of every port when its outside part is unavailable."""


class UnavailableError(Exception):
    """An outside part can't be used now; the same call may succeed later. Nothing was done partially."""

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
