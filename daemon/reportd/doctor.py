"""What can be checked before the daemon runs. Each fault comes with what to do about it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from reportd.adapters.chromium.browser import find_executable
from reportd.config import Config
from reportd.ports import BrowserError

Check = tuple[str, bool, str]


def examine(config: Config) -> Iterator[Check]:
    """Name, whether it is well, and what was found or is to be done."""
    yield _browser(config)
    yield _program("setpriv", "util-linux")
    yield from _fonts()
    yield _folder(config.data_dir)


def _browser(config: Config) -> Check:
    try:
        executable = find_executable(config.pool.executable)
    except BrowserError as error:
        return "browser", False, str(error)
    shown = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)
    if shown.returncode:
        return "browser", False, f"{executable} does not run: {shown.stderr.strip()[:200]}"
    return "browser", True, f"{executable}, {shown.stdout.strip()}"


def _program(name: str, package: str) -> Check:
    path = shutil.which(name)
    return name, path is not None, path or f"not found: apt install {package}"


def _fonts() -> Iterator[Check]:
    lister = shutil.which("fc-list")
    if lister is None:
        yield "fonts", False, "fc-list not found: apt install fontconfig"
        return
    for script, language, package in (("Latin", "en", "fonts-inter"), ("Chinese", "zh-cn", "fonts-noto-cjk")):
        found = subprocess.run(
            [lister, f":lang={language}", "family"], capture_output=True, text=True, timeout=20, check=False
        ).stdout.splitlines()
        text = f"{len(found)} fonts" if found else f"none: apt install {package}"
        yield f"{script} fonts", bool(found), text


def _folder(data_dir: Path) -> Check:
    probe = data_dir / ".doctor"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        return "data folder", False, f"{data_dir}: {error.strerror}; set data_dir"
    free = shutil.disk_usage(data_dir).free // 2**20
    return "data folder", free > 500, f"{data_dir}, {free} MiB free"  # noqa: PLR2004 - room for a few thousand PDFs
