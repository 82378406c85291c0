"""What is wrong with a configuration is told in the same words by all who look at it, and ends with status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from reportd.app.checks import Checks, folders_of
from reportd.app.reload import Reload, ReloadRequests
from reportd.cli.main import main
from reportd.concurrency.supervisor import Supervisor
from reportd.config import load_from
from reportd.config.report_types import BUILT_IN
from reportd.intake.tokens import Tokens
from tests.fakes.checking import catalogue_of, inline_checker
from tests.faulty_configs import FAULTS, Fault, write

BIND = 'http.bind = "127.0.0.1:0"\n'
SOUND = Fault('[reports.page]\nurl = "https://sound.test/"\n', "", "")


def ended(command: str, file: Path) -> tuple[int, list[str]]:
    """The exit status, and the faults that are told."""
    done = subprocess.run(
        [sys.executable, "-m", "reportd.cli.main", command, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("REPORTD_")}, "HOME": str(file.parent)},
    )
    lines = done.stderr.splitlines()
    begin = "reportd: the configuration has faults:"
    assert begin in lines, done.stderr
    return done.returncode, lines[lines.index(begin) + 1 :]


async def reloaded(folder: Path, fault: Fault) -> list[str]:
    """What a daemon says that was sound until then; it stays so."""
    write(folder, SOUND, BIND)
    sound = load_from(folder / "reportd.toml", {})
    folders = folders_of(sound)
    checker = inline_checker(folders)
    types = catalogue_of(sound.config, folders, checker)
    _, given = trio.open_memory_channel[None](1)
    orders = ReloadRequests(given, lambda: load_from(folder / "reportd.toml", {}), lambda _: None)
    learnt: list[object] = []
    checks = Checks(folders, checker)
    reload = Reload(orders, sound.config, types, checks, Tokens(), learnt.append, Supervisor())
    write(folder, fault, BIND)
    with capture_logs() as captured:
        await reload.reload()
    assert (types.names, learnt) == (tuple(sorted({"page", *BUILT_IN})), [])
    assert "configuration" in reload.trouble
    (kept,) = [line for line in captured if line["event"] == "config.kept"]
    return str(kept["error"]).splitlines()


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of doctor only what it says of the configuration."""
    monkeypatch.setattr("reportd.cli.doctor.examine", lambda _: ())
    monkeypatch.setattr("reportd.system.logs.set_up", lambda *_: None)  # it is the tests' log as well
    for name in [name for name in os.environ if name.startswith("REPORTD_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("nothing_else")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.browser] if FAULTS[name].browser else []) for name in FAULTS]
)
def test_all_who_look_say_the_same(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault = FAULTS[name]
    file = write(tmp_path, fault, BIND)
    status, said = ended("serve", file)
    assert status == 2
    (line,) = said
    assert line.startswith(": ".join(filter(None, (str(file), fault.key))) + ": ")
    assert fault.words in line
    assert "accepted: " in line or "did you mean" in line or not fault.key
    for command in ("check-config", "doctor"):
        assert main([command, "--config", str(file)]) == 2
        assert capsys.readouterr().err.splitlines() == ["reportd: the configuration has faults:", line]
    assert trio.run(reloaded, tmp_path, fault) == said


async def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    several = [FAULTS[name] for name in ("requird", "no file of tokens", "no browser there")]
    for fault in several:
        write(tmp_path, fault)
    two = Fault('[reports.other]\ntemplate = "gone.html"\n', "", "")
    text = "".join(fault.text for fault in (*several, two))
    file = write(tmp_path, Fault(text, "", ""), BIND)
    status, lines = await trio.to_thread.run_sync(ended, "check-config", file)
    assert status == 2
    assert len(lines) == 4, lines
