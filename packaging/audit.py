"""Checks what is locked against the advisories of OSV, by pip-audit, which is given any arguments.

Exit status: 0 when nothing is known against it, or when no database can be reached, which is said; 1 when something is;
2 when the check itself fails.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

LOCK = Path(__file__).parent / "requirements.txt"
UNREACHABLE = re.compile(r"requests\.exceptions\.(Connection|Proxy|ConnectTimeout|ReadTimeout)|Could not connect")
"""The end of pip-audit's traceback, or what it says instead."""


def main(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip", "--require-hashes"]
    command += ["--vulnerability-service", "osv", "--progress-spinner", "off", "--format", "json"]
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [*command, "--output", str(report), *arguments], stderr=subprocess.PIPE, text=True, check=False
        )
        if report.exists():
            return _told(json.loads(report.read_text()))
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    if UNREACHABLE.search(last):
        print("no advisory database can be reached: nothing was checked")
        return 0
    print(f"the check failed: {last}", file=sys.stderr)
    return 2


def _told(report: dict[str, Any]) -> int:
    """A line for each advisory."""
    packages = report["dependencies"]
    found = [(package, one) for package in packages for one in package.get("vulns", ())]
    skipped = [package for package in packages if "skip_reason" in package]
    for package, one in found:
        fixed = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {one['id']}, mended in {fixed}: {one['description'][:200]}")
    for package in skipped:
        print(f"{package['name']} was not checked: {package['skip_reason']}")
    print(f"{len(packages) - len(skipped)} packages of {LOCK.name} checked, advisories found: {len(found)}")
    return 1 if found else 2 if skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
