"""reportd: turns heavy report pages into PDFs."""

import subprocess
from pathlib import Path

__version__ = "0.1.0"


def revision() -> str:
    """The git revision that this was made from, with ``-dirty`` where files differ from it; empty when unknown.

    A built program has it in a file; a checkout asks git.
    """
    folder = Path(__file__).parent
    try:
        return (folder / "revision").read_text().strip()
    except OSError:
        pass
    if not (folder.parents[1] / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()
