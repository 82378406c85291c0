"""What `make audit` says where an advisory database answers, and where none can be reached."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[3] / "packaging" / "audit.py"

ADVISORY = {
    "id": "GHSA-xxxx-yyyy-zzzz",
    "aliases": ["CVE-2099-1234"],
    "summary": "It does too much",
    "modified": "2099-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "trio", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@contextmanager
def database(advisories: dict[str, Any], status: int = 200) -> Iterator[str]:
    """One that speaks OSV's protocol; by the names of packages."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            known = advisories.get(asked["package"]["name"])
            body = json.dumps({"vulns": [known]} if known else {}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(AUDIT), "--osv-url", url], capture_output=True, text=True, timeout=120, check=False
    )


def test_what_is_known_is_told_and_fails() -> None:
    with database({"trio": ADVISORY}) as url:
        done = audit(url)
    assert done.returncode == 1
    first, last = done.stdout.splitlines()
    assert first.startswith("trio 0.")
    assert first.endswith(": CVE-2099-1234, mended in 99.1: It does too much")
    assert last.endswith(" checked, advisories found: 1")


def test_all_that_is_locked_is_asked_about() -> None:
    with database({}) as url:
        done = audit(url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" checked, advisories found: 0\n")
    count = int(done.stdout.split()[0])
    lock = (AUDIT.parent / "requirements.txt").read_text()
    locked = [line for line in lock.splitlines() if "==" in line]
    # Those for other systems are left out.
    assert len([line for line in locked if ";" not in line]) <= count <= len(locked)


def test_where_no_database_can_be_reached_it_says_so() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        done = audit(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/query")
    assert (done.returncode, done.stdout) == (0, "no advisory database can be reached: nothing was checked\n")


@pytest.mark.parametrize("status", [400, 503])
def test_a_database_that_fails_is_not_taken_for_one_that_knows_nothing(status: int) -> None:
    with database({}, status) as url:
        done = audit(url)
    assert done.returncode == 2
    assert done.stderr.startswith("the check failed: ")
