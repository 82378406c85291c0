"""The socket that systemd may pass."""

import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
from reportd.system import sd_notify
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = os.environ["LISTEN_PID"].replace("own", str(os.getpid()))
try:
    found = sd_notify.listener()
except OSError as error:
    print(error)
else:
    print(found and found.getsockname())
"""


def heard(passed: socket.socket, *, pid: str = "own", count: str = "1") -> str:
    """Return what a process prints that has the socket as descriptor 3."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(passed.fileno())],
        pass_fds=[passed.fileno()],
        env={**os.environ, "LISTEN_PID": pid, "LISTEN_FDS": count},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_it_is_taken_as_it_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert heard(listener) == str(listener.getsockname())


@pytest.mark.parametrize("pid", ["1", ""])
def test_what_is_meant_for_another_process_is_left_alone(pid: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert heard(listener, pid=pid) == "None"


@pytest.mark.parametrize("count", ["2", "0", "", "many"])
def test_more_than_one_is_refused(count: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert heard(listener, count=count) == f"systemd handed over {count} sockets; accepted: one"


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)]
)
def test_another_kind_is_refused(family: socket.AddressFamily, kind: socket.SocketKind) -> None:
    with socket.socket(family, kind) as other:
        assert heard(other) == "systemd handed over a socket of another kind; accepted: TCP"
