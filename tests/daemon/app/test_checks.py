"""Faults of the files that a configuration names."""

from pathlib import Path

import pytest

from reportd.app.checks import authorities_problem
from reportd.system.authorities import read_authorities
from tests.servers.authority import Authority
from tests.wording import mentions


def test_one_authority_or_many_are_no_problem(tmp_path: Path) -> None:
    files = [Authority(tmp_path, name).file for name in ("One", "Two")]
    both = tmp_path / "both.pem"
    both.write_text("von uns für uns\n" + "\n".join(file.read_text() for file in files))
    assert authorities_problem(both) == ""
    assert len(read_authorities(both)) == len(files)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "holds no certificate in PEM"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate in PEM"),
        ("ünreadable", "holds no certificate in PEM"),
    ],
)
def test_a_file_without_a_certificate_is_named(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content)
    assert mentions(authorities_problem(file), str(file), problem, "accepted: a PEM file")


def test_a_servers_certificate_is_no_authority(tmp_path: Path) -> None:
    Authority(tmp_path).server(chain=())
    assert mentions(authorities_problem(tmp_path / "Tests" / "server.pem"), "only of servers", "accepted: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    problem = authorities_problem(tmp_path / "ca.pem")
    assert mentions(problem, "ca.pem can't be read: No such file or directory", "accepted: ")
