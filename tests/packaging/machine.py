"""A Debian system that is booted for a test, with a real systemd. base.sh makes it; changes go to an overlay."""

import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "build" / "system"

BOOT_SECONDS = 60.0
URL = "http://127.0.0.1:8080"
USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

# The overlay is in a mount namespace of its own, so it is gone with the machine, however that ends.
BOOT = """
mount -t overlay overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" "$2/root"
exec systemd-nspawn -q -D "$2/root" --register=no --keep-unit --boot --private-network --machine=reportd-test
"""


class CommandError(Exception):
    """A command on the machine failed; the text is what it said."""


class Machine:
    """Made by ``open_machine``. It has a network of its own, which is loopback alone."""

    def __init__(self, folder: Path, nspawn: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._nspawn = nspawn
        self._init = 0

    def boot(self) -> None:
        def booted() -> bool:
            assert self._nspawn.poll() is None, (self._folder / "console").read_text()[-2000:]
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            for child in children:
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    self._init = int(child)
                    return self.attempt("systemctl", "is-active", "multi-user.target")[0] == 0
            return False

        until(booted, BOOT_SECONDS)

    def attempt(self, *command: str, given: str = "") -> tuple[int, str]:
        """Exit status and output, errors included."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p"]
        environ = [
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        done = subprocess.run(
            [*enter, "env", "-i", "-C", "/", *environ, *command],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    def run(self, *command: str, given: str = "") -> str:
        status, said = self.attempt(*command, given=given)
        if status:
            raise CommandError(f"{shlex.join(command)}: {status}: {said[-2000:]}")
        return said

    def sh(self, script: str) -> str:
        return self.run("/bin/sh", "-euc", script)

    def put(self, path: str, text: str) -> None:
        self.run("/bin/sh", "-euc", 'cat > "$1"', "put", path, given=text)

    def copy(self, file: Path, to: str) -> None:
        self.run("/bin/sh", "-euc", ': > "$1"', "copy", to)
        with file.open("rb") as source, Path(f"/proc/{self._init}/root{to}").open("wb") as target:
            os.sendfile(target.fileno(), source.fileno(), 0, file.stat().st_size)

    # --- the service ------------------------------------------------------------------------------------------

    def install(self, package: Path) -> None:
        self.copy(package, "/root/reportd.deb")
        self.run("dpkg", "-i", "/root/reportd.deb")

    def show(self, name: str, unit: str = "reportd.service") -> str:
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def ready(self) -> bool:
        return self.attempt("curl", "-fs", "-o", "/dev/null", f"{URL}/readyz")[0] == 0

    def processes(self, name: str) -> dict[int, str]:
        """Command lines of those that have this word in them, but of no shell."""
        found = {}
        for line in self.run("ps", "-eo", "pid=,args=").splitlines():
            pid, _, command = line.strip().partition(" ")
            if name in command and not command.startswith(("/bin/sh", "ps ", "env ")):
                found[int(pid)] = command
        return found

    # --- its interface ----------------------------------------------------------------------------------------

    def get(self, path: str, *options: str) -> Any:
        return json.loads(self.run("curl", "-fsS", *options, f"{URL}{path}"))

    def submit(self, report_type: str, parameters: Any, *options: str) -> str:
        """The task id; repeated until it is accepted, by a key that makes that harmless."""
        body = {"reportType": report_type, "userId": USER, "parameters": parameters}
        retry = ("--retry", "60", "--retry-delay", "1", "--retry-all-errors")
        headers = ("-H", "Content-Type: application/json", "-H", f"Idempotency-Key: {time.monotonic_ns()}")
        answer = self.run(
            "curl", "-fsS", *retry, *headers, *options, "-d", json.dumps(body), f"{URL}/reports/generate-async"
        )
        task_id: str = json.loads(answer[answer.index("{") :])["taskId"]
        return task_id

    def finished(self, task_id: str, seconds: float = 120.0) -> Any:
        report: Any = None

        def done() -> bool:
            nonlocal report
            status, said = self.attempt("curl", "-fsS", f"{URL}/reports/{task_id}?wait=5")
            if status:
                return False
            report = json.loads(said)
            return report["state"] in ("succeeded", "quarantined", "cancelled")

        until(done, seconds)
        return report


def until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.1)


@contextmanager
def open_machine() -> Iterator[Machine]:
    """A machine that has booted, and is gone after the block."""
    with tempfile.TemporaryDirectory(dir=SYSTEM, prefix="run-") as name:
        folder = Path(name)
        for part in ("upper", "work", "root"):
            (folder / part).mkdir()
        with (folder / "console").open("wb") as console:
            nspawn = subprocess.Popen(
                ["unshare", "-m", "/bin/sh", "-euc", BOOT, "boot", str(SYSTEM / "base"), str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        try:
            machine = Machine(folder, nspawn)
            machine.boot()
            yield machine
        finally:
            nspawn.send_signal(signal.SIGTERM)  # by this it powers the machine off
            try:
                nspawn.wait(60)
            except subprocess.TimeoutExpired:
                nspawn.kill()
                nspawn.wait()
