"""The free memory of the machine and of the service."""

from pathlib import Path

import pytest

from reportd.system.memory import free_mib

MIB = 1024 * 1024


class Machine:
    """Write files as the kernel has them."""

    def __init__(self, root: Path, available_mib: int | None) -> None:
        self.proc, self.cgroups = root / "proc", root / "sys" / "fs" / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir(parents=True)
        if available_mib is not None:
            lines = f"MemTotal: 9 kB\nMemAvailable:   {available_mib * 1024} kB\n"
            (self.proc / "meminfo").write_text(lines)

    def inside(self, path: str) -> None:
        (self.proc / "self" / "cgroup").write_text(f"1:name=systemd:/elsewhere\n0::{path}\n")

    def cgroup(self, path: str, limit: str, used_mib: int, files_mib: int = 0) -> None:
        folder = self.cgroups / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used_mib * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files_mib * MIB}\n")

    def free_mib(self) -> float:
        return free_mib(self.proc, self.cgroups)


def test_without_cgroups_it_is_what_the_machine_has(tmp_path: Path) -> None:
    assert Machine(tmp_path, 3000).free_mib() == 3000


def test_the_narrowest_cgroup_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 3000)
    machine.inside("/system.slice/reportd.service/daemon")
    machine.cgroup("system.slice/reportd.service/daemon", "max", 100)
    assert machine.free_mib() == 3000
    machine.cgroup("system.slice/reportd.service", str(2000 * MIB), 1500, 200)
    assert machine.free_mib() == 700
    machine.cgroup("system.slice", str(2000 * MIB), 1900)
    assert machine.free_mib() == 100
    machine.cgroup("system.slice", str(2000 * MIB), 2100)
    assert machine.free_mib() == 0


@pytest.mark.parametrize("text", ["1:name=systemd:/only-version-1\n", "0::/gone.service\n", "0::/../outside\n"])
def test_a_cgroup_that_cannot_be_seen_sets_no_limit(tmp_path: Path, text: str) -> None:
    machine = Machine(tmp_path, 3000)
    (machine.proc / "self" / "cgroup").write_text(text)
    assert machine.free_mib() == 3000


def test_a_service_that_may_see_processes_only_is_told_what_is_free(tmp_path: Path) -> None:
    assert 0 < Machine(tmp_path, None).free_mib() < 1024 * 1024 * 1024


def test_this_machine_has_some() -> None:
    assert 0 < free_mib() < 1024 * 1024 * 1024
