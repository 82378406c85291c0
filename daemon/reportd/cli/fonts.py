"""The fonts of this machine, as ``reportd doctor`` checks them: which scripts they cover, and what to install."""

import shutil
import subprocess
from collections.abc import Iterable, Iterator

Check = tuple[str, bool, str]
"""Name, whether it is well, and what was found or what to do."""

_LIST_SECONDS = 20
_NAMED = 3

SCRIPTS = (
    ("Latin", "Aéßł€", "fonts-inter"),
    ("Cyrillic", "Жя", "fonts-inter"),
    ("Greek", "Ωλ", "fonts-inter"),
    ("Chinese", "灯具", "fonts-noto-cjk"),
    ("Japanese", "あカ", "fonts-noto-cjk"),
    ("Korean", "램프", "fonts-noto-cjk"),
    ("Arabic", "مصباح", "fonts-noto-core"),
    ("Hebrew", "מנורה", "fonts-noto-core"),
    ("Thai", "โคมไฟ", "fonts-noto-core"),
    ("Devanagari", "दीपक", "fonts-noto-core"),
    ("Symbol", "☐☑✓", "fonts-noto-core"),
    ("Emoji", "😀👍🇩", "fonts-noto-color-emoji"),
)
"""Each script, some of its characters, and the Debian package that has fonts for it."""


def checks() -> Iterator[Check]:
    """Yield a check per script."""
    lister = shutil.which("fc-list")
    if lister is None:
        yield "fonts", False, "fc-list not found: apt install fontconfig"
        return
    command = [lister, "--format=%{family[0]}\t%{charset}\n", ":scalable=true"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=_LIST_SECONDS, check=False)
    yield from scripts_in(listed.stdout.splitlines())


def scripts_in(fonts: Iterable[str]) -> Iterator[Check]:
    """Yield a check per script. ``fonts``: a family, a tab and the ranges of its code points in hexadecimal digits."""
    covered = [(family, set(_code_points(ranges))) for family, _, ranges in (font.partition("\t") for font in fonts)]
    for script, sample, package in SCRIPTS:
        families = sorted({family for family, points in covered if points.issuperset(map(ord, sample))})
        more = f" and {len(families) - _NAMED} more" if len(families) > _NAMED else ""
        found = ", ".join(families[:_NAMED]) + more
        yield f"{script} fonts", bool(families), found or f"none: apt install {package}"


def _code_points(ranges: str) -> Iterator[int]:
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)
