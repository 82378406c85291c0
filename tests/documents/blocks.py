"""The documents, and the code blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

SHIPPED = (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(DOCS.rglob("*.md")))
"""What the Debian package has: packaging/debian/build.sh."""

DOCUMENTS = (
    *SHIPPED,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "packaging" / "aws" / "README.md",
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code. ``heading``: the nearest one above it."""

    document: Path
    heading: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    def __str__(self) -> str:
        return f"{name_of(self.document)}: {self.first_line}"


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def blocks_of(document: Path, *languages: str) -> list[Block]:
    """The blocks of a document in their order; of these languages, or of all."""
    return [block for block in _blocks(document) if not languages or block.language in languages]


def _blocks(document: Path) -> Iterator[Block]:
    heading, language, lines = "", None, list[str]()
    for line in document.read_text().splitlines():
        fence = re.fullmatch(r" *```(\w*)", line)
        if language is not None:
            if fence is None:
                lines.append(line)
                continue
            yield Block(document, heading, language, "\n".join([*lines, ""]))
            language, lines = None, []
        elif fence is not None:
            language = fence[1]
        elif line.startswith("#"):
            heading = line.lstrip("# ")


def prose_of(document: Path) -> str:
    """A document without its blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", document.read_text())


NOT_RUN = {
    "make demo     # install what is missing, start the daemon, get two PDFs with curl into out/, stop the daemon": (
        "packaging/demo.sh starts a daemon on the port 8080; the other command runs this test"
    ),
    "make deb": "takes minutes, and needs root: `make test-systemd`",
    "sudo apt-get install ./reportd_VERSION_amd64.deb": "needs root and systemd: `make test-systemd`",
    "sudo apt-get install ./reportd_NEWER_amd64.deb": "needs root and systemd: `make test-systemd`",
    "sudo systemd-run --pipe --wait -p User=reportd -p StateDirectory=reportd reportd doctor": "needs systemd",
    "sudo apt-get install bubblewrap": "needs root and systemd: `make test-systemd` installs the drop-in",
    "sudo reportd check-config": "needs root and systemd",
    "sudo systemctl edit reportd": "needs systemd, and a person",
    "sudo sh -c 'umask 027; reportd token web-back-end submit,read >> /etc/reportd/tokens'": "needs root",
    "sudo sh -c 'umask 077; reportd token web-back-end submit,read >> /etc/reportd/tokens'": "needs root",
    "sudo sh -c 'umask 027; openssl genpkey -algorithm ed25519 > /etc/reportd/render-2026-11.pem'": "needs root",
    "sudo systemctl stop reportd": "needs systemd: `make test-systemd`",
    "sudo bindfs -o ro --force-user=www-data --force-group=www-data --perms=0000:u=rD "
    "/var/lib/reportd/artifacts /srv/reports": "needs root and FUSE",
    "reportd provision --dry-run     # only says what it would do": "needs AWS: tests/daemon/cli/test_provision.py",
    "reportd preview invoice2 --open": "runs until Ctrl-C: tests/e2e/operator/test_preview.py",
    "journalctl REPORTD_TASK_ID=4f8c0e0e-5c1b-5a86-8a5e-1d1f3f0c9b7e": "needs systemd",
}
"""The first line of each shell block that can't be run here, and why. All others are run: tests/e2e/operator."""
