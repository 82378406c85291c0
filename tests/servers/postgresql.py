"""Real servers for tests, each in a folder of its own; they end with their block, or with the tests' process."""

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

START_SECONDS = 60.0


class Postgres:
    """A PostgreSQL server that is reached through a socket in its folder. Made by ``running_postgres``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._account = unprivileged()
        self._server: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(folder, self._account)
        options = ("--username=reportd", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        subprocess.run(
            [*self._as_account(), self._programs / "initdb", *options, "--pgdata", folder / "data"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )

    def url(self, database: str) -> str:
        return f"postgresql://reportd@/{database}?host={self.folder}"

    def start(self) -> None:
        """From the main thread: the server ends with the thread that started it."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "shared_buffers": "16MB",
            "deadlock_timeout": "100ms",
            "log_min_messages": "fatal",
        }
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [*self._as_account(), self._programs / "postgres", "-D", self.folder / "data", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
        )
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > until or self._server.poll() is not None:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends the connections and stops, SIGQUIT is a crash."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(START_SECONDS)
            self._server = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        assert self._server is not None
        server = self._server.pid
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        each = [server, *map(int, children)]
        for pid in each:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in each:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def run(self, *statements: str | sql.Composed, database: str = "postgres") -> None:
        """Statements as the server's owner, each for itself."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement if isinstance(statement, sql.Composed) else sql.SQL(statement))

    @contextmanager
    def new_database(self, name: str) -> Iterator[str]:
        """The URL of an empty database that is gone after the block."""
        self.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            self.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _as_account(self) -> list[str]:
        """PostgreSQL refuses to run as root; and it shall not outlive the tests, whatever ends them (prctl(2))."""
        command = ["setpriv", "--pdeathsig=INT"]
        if os.geteuid() == 0:
            account = pwd.getpwnam(self._account)
            command += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return command


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb")
    if not programs and not found:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="reportd-postgres-"))
    try:
        server = Postgres(programs[-1] if programs else Path(str(found)).parent, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests, started when the first one needs it."""
    with running_postgres() as server:
        yield server


def unprivileged() -> str:
    if os.geteuid() != 0:
        return getpass.getuser()
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
