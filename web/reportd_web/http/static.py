"""The style sheets, scripts and icons of our own pages."""

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


def static_files() -> StaticFiles:
    """Return the application that serves the folder ``static``."""
    return _Revalidated(directory=Path(__file__).parents[1] / "static")


class _Revalidated(StaticFiles):
    """Makes browsers revalidate each time, so that a new page never gets an old style sheet."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
