"""A real PgBouncer for tests, in transaction mode, on a free loopback port. It ends with its block."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.ports import free_port
from tests.servers.postgresql import Postgres, unprivileged

START_SECONDS = 10.0


class PgBouncer:
    """Made by ``running_pgbouncer``."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str) -> str:
        return f"postgresql://reportd@127.0.0.1:{self.port}/{database}"


@contextmanager
def running_pgbouncer(postgres: Postgres, pool_mode: str = "transaction") -> Iterator[PgBouncer]:
    """As it comes: nothing is allowed for the sake of the daemon. Fewer sessions than the daemon has connections."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="reportd-pgbouncer-"))
    command = ["setpriv", "--pdeathsig=INT"]
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam(unprivileged())
        shutil.chown(folder, account.pw_name)
        command += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    (folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host={postgres.folder}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {pool_mode}
default_pool_size = 3
logfile = {folder}/log
""")
    (folder / "users").write_text('"reportd" ""\n"weak" ""\n')
    server = subprocess.Popen([*command, program, "-q", folder / "pgbouncer.ini"], stdin=subprocess.DEVNULL, cwd=folder)
    try:
        _wait_for(port, server, folder / "log")
        yield PgBouncer(port)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert server.poll() is None, (
                f"pgbouncer has ended: {log.read_text() if log.exists() else server.returncode}"
            )
            assert time.monotonic() < until, "pgbouncer does not listen"
            time.sleep(0.01)
        else:
            return
