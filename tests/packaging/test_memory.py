"""A page that takes memory without end, in the service, where the control groups are the service's to divide.

That needs cgroup v2 with its memory controller, which a container has only where its host has; so this boots a virtual
machine. Its processor is emulated, so that it runs anywhere, and takes some minutes.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.machine import SYSTEM

pytestmark = [pytest.mark.packaged, pytest.mark.browser]

MEMORY_MIB = 2048
MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")

INIT = """#!/bin/sh
mkdir -p /proc /dev /system
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /$module.ko; done
mount -t ext4 /dev/vda /system
exec switch_root /system /sbin/init
"""

UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/root/trial.sh
StandardOutput=null
[Install]
WantedBy=graphical.target
"""

# The base, and above it what the trial needs, as one tree for the disk.
DISK = """
mount -t overlay overlay -o lowerdir="$1",upperdir="$2/upper",workdir="$2/work" "$2/root"
truncate -s 3G "$2/disk"
mkfs.ext4 -q -O ^has_journal -d "$2/root" "$2/disk"
"""


def boot_folder(folder: Path, package: Path) -> None:
    """Makes ``disk`` and ``initrd``."""
    for part in ("upper", "work", "root", "initrd.d"):
        (folder / part).mkdir()
    upper = folder / "upper"
    (upper / "root").mkdir(mode=0o700)
    (upper / "root" / "reportd.deb").write_bytes(package.read_bytes())
    trial = upper / "root" / "trial.sh"
    trial.write_text((Path(__file__).parent / "trial.sh").read_text())
    trial.chmod(0o755)
    wants = upper / "etc" / "systemd" / "system" / "graphical.target.wants"
    wants.mkdir(parents=True)
    (upper / "etc" / "systemd" / "system" / "trial.service").write_text(UNIT)
    (wants / "trial.service").symlink_to("../trial.service")
    subprocess.run(["unshare", "-m", "/bin/sh", "-euc", DISK, "disk", str(SYSTEM / "base"), str(folder)], check=True)

    early = folder / "initrd.d"
    (early / "bin").mkdir()
    (early / "bin" / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (early / "bin" / "busybox").chmod(0o755)
    for name in ("sh", "mkdir", "mount", "insmod", "switch_root"):
        (early / "bin" / name).symlink_to("busybox")
    for module in MODULES:
        (found,) = (SYSTEM / "kernel").rglob(f"{module}.ko")
        (early / found.name).write_bytes(found.read_bytes())
    (early / "init").write_text(INIT.format(modules=" ".join(MODULES)))
    (early / "init").chmod(0o755)
    pack = 'cd "$1"; find . | cpio --quiet -o -H newc > ../initrd'
    subprocess.run(["/bin/sh", "-euc", pack, "pack", str(early)], check=True)


def booted(folder: Path, seconds: float) -> str:
    """What the machine's console says until it is off."""
    (kernel,) = (SYSTEM / "kernel" / "boot").glob("vmlinuz-*")
    console = folder / "console"
    with console.open("wb") as output:
        command = [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY_MIB)),
            *("-nographic", "-no-reboot", "-nic", "none", "-kernel", str(kernel), "-initrd", str(folder / "initrd")),
            *("-append", "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.show_status=false"),
            *("-drive", f"file={folder / 'disk'},if=virtio,format=raw,cache=unsafe"),
        ]
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=seconds, check=True)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not off after {seconds:g} s: {console.read_text(errors='replace')[-4000:]}")
    return console.read_text(errors="replace")


def test_a_page_without_end_costs_its_browser_and_nobody_else_anything(tmp_path: Path, package: Path) -> None:
    boot_folder(tmp_path, package)
    console = booted(tmp_path, 1500)
    said = re.findall(r"trial: (\w+) (.*?)\s*$", console, re.MULTILINE)
    assert ("done", "") in said or "trial: done" in console, console[-4000:]

    def told(about: str) -> list[list[str]]:
        return [text.split() for name, text in said if name == about]

    assert told("daemon") == [["/system.slice/reportd.service/daemon"]]
    ((service, browsers),) = told("limits")
    assert int(service) < 0.8 * MEMORY_MIB * 1024 * 1024
    assert int(browsers) < int(service)
    assert [int(processes) > 3 and whole == "1" for processes, whole in told("browser")] == [True, True]

    # The one that would not end lost its browser twice; none of the others even lost an attempt.
    assert told("endless") == [["quarantined", "browser_lost"]]
    assert told("ordinary") == [["succeeded", "1"]] * 9
    ((killed,),) = told("killed")
    assert int(killed) >= 2
    ((before, after, _, restarts),) = told("pid")
    assert (before, restarts) == (after, "0")
    assert told("after") == [["200"]]
