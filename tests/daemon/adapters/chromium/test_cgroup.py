"""The browsers' control groups, on a plain folder. `make test-systemd` tests the kernel's."""

import os
import subprocess
from pathlib import Path

import pytest

from reportd.adapters.chromium.process import cgroup
from reportd.adapters.chromium.process.cgroup import MIB, command_in_group, remove, take_over
from tests.descriptors import none_left


class Kernel:
    """A cgroup file system and a process in one of its groups, which is delegated by default."""

    def __init__(self, folder: Path, group: str = "system.slice/reportd.service", limit: str = "max") -> None:
        self.root = folder / "cgroup"
        self.base = self.root / group
        self.base.mkdir(parents=True)
        for name, text in {
            "cgroup.controllers": "cpu memory pids\n",
            "cgroup.procs": f"{os.getpid()}\n",
            "cgroup.subtree_control": "",
            "memory.max": f"{limit}\n",
        }.items():
            (self.base / name).write_text(text)
        os.setxattr(self.base, "user.delegate", b"1")
        self.own = folder / "self"
        self.own.write_text(f"1:name=systemd:/x\n0::/{group}\n")

    def read(self, name: str) -> str:
        return (self.base / name).read_text().strip()


def everything_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_daemon_and_the_browsers_are_kept_apart(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, limit=str(4096 * MIB))
    assert take_over(kernel.root, kernel.own) is not None
    assert kernel.read("daemon/cgroup.procs") == str(os.getpid())
    assert kernel.read("cgroup.subtree_control") == "+memory +pids"
    assert kernel.read("browsers/cgroup.subtree_control") == "+memory +pids"
    assert int(kernel.read("browsers/memory.max")) == (4096 - 512) * MIB


def test_every_process_of_the_service_moves_with_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stays in the group, such as an earlier worker, would keep the kernel from dividing it."""
    kernel = Kernel(tmp_path)
    (kernel.base / "cgroup.procs").write_text(f"{os.getpid()}\n4194300\n")
    moved = []

    def write(file: Path, text: str) -> None:
        if file == kernel.base / "daemon" / "cgroup.procs":
            moved.append(text)
            if text == "4194300":
                raise ProcessLookupError

    monkeypatch.setattr(cgroup, "_write", write)
    assert take_over(kernel.root, kernel.own) is not None
    assert sorted(moved) == sorted([str(os.getpid()), "4194300"])


def test_a_small_service_leaves_the_daemon_a_fourth(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, limit=str(1024 * MIB))
    assert take_over(kernel.root, kernel.own) is not None
    assert int(kernel.read("browsers/memory.max")) == 768 * MIB


def test_without_a_limit_of_the_service_the_browsers_have_none(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    assert take_over(kernel.root, kernel.own) is not None
    assert not (kernel.base / "browsers" / "memory.max").exists()


def test_it_is_taken_over_once(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, limit=str(1024 * MIB))
    assert take_over(kernel.root, kernel.own) is not None
    before = everything_in(kernel.root)
    kernel.own.write_text("0::/system.slice/reportd.service/daemon\n")
    assert take_over(kernel.root, kernel.own) is not None
    assert everything_in(kernel.root) == before


@pytest.mark.parametrize("lack", ["delegation", "memory", "version 2", "a group"])
def test_what_was_not_handed_over_is_left_alone(tmp_path: Path, lack: str) -> None:
    kernel = Kernel(tmp_path)
    match lack:
        case "delegation":
            os.removexattr(kernel.base, "user.delegate")
        case "memory":
            (kernel.base / "cgroup.controllers").write_text("cpu pids\n")
        case "version 2":
            kernel.own.write_text("4:memory:/system.slice/reportd.service\n")
        case _:
            kernel.own = tmp_path / "nothing"
    before = everything_in(kernel.root)
    assert take_over(kernel.root, kernel.own) is None
    assert everything_in(kernel.root) == before


def test_one_that_can_not_be_divided_is_done_without(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    (kernel.base / "browsers").write_text("in the way")
    assert take_over(kernel.root, kernel.own) is None


def test_each_browser_has_a_group_that_ends_as_a_whole(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    groups = take_over(kernel.root, kernel.own)
    assert groups is not None
    group = groups.make("profile-1")
    assert group == kernel.base / "browsers" / "profile-1"
    assert kernel.read("browsers/profile-1/memory.oom.group") == "1"
    assert groups.make("profile-1") is None  # there is one; a browser without any is better than none


@pytest.mark.parametrize(
    ("events", "killed"), [("oom 3\noom_kill 2\n", True), ("oom 0\noom_kill 0\n", False), (None, False)]
)
def test_whether_memory_ran_out_is_told_when_it_ends(tmp_path: Path, events: str | None, *, killed: bool) -> None:
    if events is not None:
        (tmp_path / "memory.events").write_text(events)
    assert remove(tmp_path) is killed


def test_an_empty_group_is_removed(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    remove(group)
    assert not group.exists()


def test_the_command_puts_itself_there_before_it_runs(tmp_path: Path) -> None:
    look = '{ cat "$1"; cat /proc/self/oom_score_adj; echo $$; cat <&3; } >&4'
    show = ["/bin/sh", "-c", look, "show", str(tmp_path / "cgroup.procs")]
    child = subprocess.Popen(command_in_group(show, tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said, _ = child.communicate("told")
    assert said.split() == ["0", "100", str(child.pid), "told"]


def test_a_group_that_is_gone_keeps_nothing_from_running(tmp_path: Path) -> None:
    command = command_in_group(["/bin/sh", "-c", "echo ran >&4"], tmp_path / "gone")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ran\n", "")


def test_a_browser_does_not_go_without_its_group_for_want_of_a_descriptor(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    groups = take_over(kernel.root, kernel.own)
    assert groups is not None
    with none_left(), pytest.raises(OSError, match="Too many open files"):
        groups.make("one")
    assert not (kernel.base / "browsers" / "one").exists()
    assert groups.make("one") == kernel.base / "browsers" / "one"
