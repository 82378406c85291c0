"""The Debian package as a file; and the parts of it that speak of the command line."""

import argparse
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reportd.cli.main import _parser

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging" / "debian"


def commands() -> Iterator[tuple[str, set[str]]]:
    """Each command of the daemon with its options, but for -h."""
    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, parser in action.choices.items():
                options = {option for part in parser._actions for option in part.option_strings}
                yield name, options - {"-h", "--help"}


def test_the_man_page_has_every_command_and_option_and_no_other() -> None:
    page = (DEBIAN / "reportd.1").read_text().replace("\\-", "-")
    described = set(
        re.findall(
            r"(?m)^\.TP\n\.BI? (?:\"?)([a-z][a-z-]+)\"?$", page.partition(".SH COMMANDS")[2].partition(".SH OPTIONS")[0]
        )
    )
    assert described == {name for name, _ in commands()}
    part = page.partition(".SH OPTIONS")[2].partition(".SH SIGNALS")[0]
    options = set(re.findall(r"(?m)^\.TP\n\.B\w? (-{1,2}[a-z-]+)", part))
    assert options == {option for _, each in commands() for option in each} | {"--version", "-h"}


@pytest.mark.parametrize(("name", "options"), list(commands()))
def test_bash_completes_every_command_and_its_options(name: str, options: set[str]) -> None:
    assert name in completed("")
    words = completed(name, "")
    assert options <= words
    assert {word for word in words if word.startswith("-")} == options | {"--help"}


def completed(*words: str) -> set[str]:
    """What bash offers for the last of these words of a command line."""
    script = 'COMP_WORDS=(reportd "$@"); COMP_CWORD=$#; _reportd; printf "%s\\n" "${COMPREPLY[@]}"'
    script = f". {DEBIAN}/completion.bash; {script}"
    done = subprocess.run(["bash", "-euc", script, "bash", *words], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_knows_what_a_breaker_can_be_told() -> None:
    assert completed("breakers", "o") == {"open"}


def test_the_unit_leaves_little_open() -> None:
    if subprocess.run(["sh", "-c", "command -v systemd-analyze"], check=False, capture_output=True).returncode:
        pytest.skip("there is no systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=true", str(ROOT / "reportd.service")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    exposure = re.search(r"exposure level for reportd.service: (\S+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 2.0


def test_the_unit_gives_a_drain_the_time_it_takes() -> None:
    unit = (ROOT / "reportd.service").read_text()
    stop = re.search(r"(?m)^TimeoutStopSec=(\d+)$", unit)
    drain = re.search(r"(?m)^#drain_seconds = (\d+)$", (ROOT / "packaging" / "reportd.toml").read_text())
    assert stop is not None
    assert drain is not None
    assert int(stop[1]) >= int(drain[1]) + 10


@pytest.mark.packaged
def test_lintian_finds_no_fault(package: Path) -> None:
    done = subprocess.run(
        ["lintian", "--fail-on", "error", str(package)], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout
    assert "E:" not in done.stdout


@pytest.mark.packaged
def test_it_holds_what_it_should_and_nobody_but_root_owns_it(package: Path) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], check=True, capture_output=True, text=True).stdout
    files = {line.split()[5]: line.split()[:2] for line in listed.splitlines()}
    for wanted in (
        "./usr/bin/reportd",
        "./usr/lib/reportd/reportd",
        "./lib/systemd/system/reportd.service",
        "./lib/systemd/system/reportd.socket",
        "./etc/reportd/reportd.toml",
        "./usr/lib/sysusers.d/reportd.conf",
        "./usr/lib/tmpfiles.d/reportd.conf",
        "./usr/share/man/man1/reportd.1.gz",
        "./usr/share/bash-completion/completions/reportd",
        "./usr/share/doc/reportd/docs/OPERATIONS.md",
    ):
        assert wanted in files
    assert {owner for _, owner in files.values()} == {"root/root"}
    assert all(mode[5] != "w" and mode[8] != "w" for mode, _ in files.values() if not mode.startswith("l"))
    conffiles = subprocess.run(
        ["dpkg-deb", "-I", str(package), "conffiles"], check=True, capture_output=True, text=True
    )
    assert conffiles.stdout == "/etc/reportd/reportd.toml\n"


@pytest.mark.packaged
def test_its_documents_lead_to_what_is_shipped(package: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    folder = tmp_path / "usr" / "share" / "doc" / "reportd"
    documents = list(folder.rglob("*.md"))
    assert {"README.md", "OPERATIONS.md"} <= {document.name for document in documents}
    for document in documents:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert "://" in link or (document.parent / link).is_file(), f"{document}: {link}"


@pytest.mark.packaged
def test_it_depends_on_what_the_daemon_needs(package: Path) -> None:
    """As packaging/machine.sh has it, but for what every Debian has. For containers, bubblewrap is only suggested."""
    fields = ["dpkg-deb", "-f", str(package), "Depends", "Suggests"]
    depends = subprocess.run(fields, check=True, capture_output=True, text=True)
    names = set(re.findall(r"(?:: |, )([a-z0-9.+-]+)", depends.stdout))
    machine = (ROOT / "packaging" / "machine.sh").read_text()
    wanted = " ".join(re.findall(r'(?m)^(?:fonts|packages)="(.*)"$', machine)).replace("$fonts", "").split()
    assert "fonts-inter" in wanted
    assert set(wanted) - {"curl", "util-linux"} <= names
