"""What every port may say when its outside part is away."""


class UnavailableError(Exception):
    """An outside part can't be used right now; the same call may work later. Nothing was half done."""

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part}: {detail}")
        self.part = part
