"""Finds the configuration file and reads it into a tree of keys.

Called by ``load``, and by callers that need the file's folder.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reportd.config.problems import Problem
from reportd.system.regular_files import read_regular

DEFAULT_PATH = Path("/etc/reportd/reportd.toml")


def find_file(config_path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the given file, else ``$REPORTD_CONFIG``, else ``DEFAULT_PATH`` if it exists, else None."""
    if config_path is not None:
        return config_path
    if named := environ.get("REPORTD_CONFIG"):
        return Path(named)
    return DEFAULT_PATH if exists(DEFAULT_PATH) else None


def read_file(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Return the keys of the file; if it can't be read, no keys and the problem."""
    try:
        return tomllib.loads(read_regular(path)[0].decode()), []
    except OSError as error:
        message = f"can't be read ({error.strerror}); accepted: a TOML file, given by --config or $REPORTD_CONFIG"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"line {line}: is not UTF-8; accepted: TOML"
    except RecursionError:
        message = "is nested too deeply; accepted: the keys there are"
    except ValueError as error:  # TOMLDecodeError, or a number too long for int()
        message = _syntax(str(error))
    return {}, [Problem(str(path), "", message)]


def exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # reading it will report the error; an unreadable file must not be ignored
    return True


def _syntax(error: str) -> str:
    if place := re.search(r" ?\(at (line \d+, column \d+|end of document)\)$", error):
        # tomllib's messages name keys and single characters, never a value.
        return f"{place[1]}: is not TOML: {error[: place.start()]}"
    return "is not TOML: it holds something that can't be read"
