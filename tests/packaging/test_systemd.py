"""The package on a Debian that has booted: installed, started, restarted, killed, stopped, upgraded, removed.

`make test-systemd` builds the package and the system first. Needs root.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.machine import ROOT, URL, USER, Machine, open_machine, until

pytestmark = [pytest.mark.packaged, pytest.mark.browser]

SAMPLE = json.loads((ROOT / "web" / "reportd_web" / "reports" / "sales_summary.sample.json").read_text())

SLOW = """
[reports.slow]
template = "slow.html"
delay_seconds = 1
"""


@pytest.fixture(scope="module")
def installed(package: Path) -> Iterator[Machine]:
    with open_machine() as machine:
        machine.install(package)
        machine.put("/etc/reportd/slow.html", "<p>{{ number }}")
        machine.sh(f"printf '%s' '{SLOW}' >> /etc/reportd/reportd.toml")
        machine.run("systemctl", "restart", "reportd")
        yield machine


@pytest.fixture
def machine(installed: Machine) -> Machine:
    """With the service running, whatever a test before has done."""
    installed.sh("systemctl reset-failed; systemctl start reportd")
    until(installed.ready, 30)
    return installed


def test_a_report_from_submission_to_pdf(machine: Machine) -> None:
    machine.run("systemctl", "restart", "reportd")
    assert machine.ready(), "a service that has started has a warm page and answers"
    assert re.match(rf"serving {URL}, \d of 2 slots busy, 0 jobs in hand$", machine.show("StatusText"))
    task_id = machine.submit("sales_summary", SAMPLE)
    report = machine.finished(task_id)
    assert report["state"] == "succeeded", report
    machine.run("curl", "-fsS", "-o", "/root/report.pdf", f"{URL}/reports/{task_id}/pdf")
    assert machine.run("head", "-c", "5", "/root/report.pdf") == "%PDF-"
    found = [
        json.loads(line)
        for line in machine.run("journalctl", "-o", "json", f"REPORTD_TASK_ID={task_id}").split("\n")
        if line
    ]
    assert {"job.accepted", "job.rendered", "job.succeeded"} <= {entry["REPORTD_EVENT"] for entry in found}
    assert {entry["_SYSTEMD_UNIT"] for entry in found} == {"reportd.service"}
    assert {entry["PRIORITY"] for entry in found} == {"6"}


def test_the_command_line_is_there(machine: Machine) -> None:
    machine.put("/root/params.json", json.dumps(SAMPLE))
    machine.run("reportd", "submit", "sales_summary", "--params", "@/root/params.json", "-o", "/root/cli.pdf")
    assert machine.run("head", "-c", "5", "/root/cli.pdf") == "%PDF-"
    revision = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True
    )
    assert revision.stdout.strip() in machine.run("reportd", "--version")
    # Every part of the machine that it needs, looked at as the service's user.
    said = machine.run(
        "setpriv",
        "--reuid=reportd",
        "--regid=reportd",
        "--clear-groups",
        "env",
        "STATE_DIRECTORY=/var/lib/reportd",
        "reportd",
        "doctor",
    )
    assert "FAIL" not in said


def test_systemd_has_nothing_to_say_about_the_units(machine: Machine) -> None:
    assert machine.run("systemd-analyze", "verify", "reportd.service", "reportd.socket") == ""
    exposure = re.search(
        r"exposure level for reportd.service: (\S+)",
        machine.run("systemd-analyze", "security", "reportd.service"),
    )
    assert exposure is not None
    assert float(exposure[1]) <= 2.0


def test_the_sandbox_of_chromium_is_on_and_nobody_is_root(machine: Machine) -> None:
    task_id = machine.submit("slow", {"number": 1})
    until(lambda: machine.get(f"/reports/{task_id}")["state"] == "running", 30)
    browsers = machine.processes("chromium-headless-shell")
    assert not any("--no-sandbox" in command for command in browsers.values())
    renderers = [pid for pid, command in browsers.items() if "--type=renderer" in command]
    assert renderers

    def status(pid: int, name: str) -> list[str]:
        found = re.search(rf"(?m)^{name}:\s*(.*)$", machine.run("cat", f"/proc/{pid}/status"))
        assert found is not None
        return found[1].split()

    def namespace(pid: int, name: str) -> str:
        return machine.run("readlink", f"/proc/{pid}/ns/{name}")

    daemon = machine.pid
    user = machine.run("id", "-u", "reportd").strip()
    assert user != "0"
    assert status(daemon, "Uid") == [user] * 4
    for pid in browsers:
        assert status(pid, "Uid") == [user] * 4
        assert status(pid, "NoNewPrivs") == ["1"]
    for pid in renderers:
        # User, process and network namespaces of its own, a filter of system calls above the service's, no capability.
        for name in ("user", "pid", "net"):
            assert namespace(pid, name) != namespace(daemon, name)
        assert int(status(pid, "Seccomp_filters")[0]) > int(status(daemon, "Seccomp_filters")[0])
        assert int(status(pid, "CapEff")[0], 16) == 0
    assert machine.finished(task_id)["state"] == "succeeded"


def test_with_its_drop_in_the_service_can_make_containers(machine: Machine) -> None:
    good = machine.run("cat", "/etc/reportd/reportd.toml")
    folder = "/etc/systemd/system/reportd.service.d"
    try:
        machine.sh(
            f"mkdir -p {folder}; cp /usr/share/doc/reportd/examples/container.conf {folder}; systemctl daemon-reload"
        )
        contained = '[reports.contained]\ntemplate = "slow.html"\nisolation = "container"\ndelay_seconds = 1\n'
        machine.put("/etc/reportd/reportd.toml", good + contained)
        machine.run("systemctl", "restart", "reportd")
        task_id = machine.submit("contained", {"number": 1})
        assert machine.finished(task_id)["state"] == "succeeded"
    finally:
        machine.put("/etc/reportd/reportd.toml", good)
        machine.sh(f"rm -r {folder}; systemctl daemon-reload; systemctl restart reportd")


def test_a_restart_under_load_loses_no_job(machine: Machine) -> None:
    tasks = [machine.submit("slow", {"number": number}) for number in range(12)]
    for _ in range(2):
        machine.run("systemctl", "restart", "reportd")
        tasks += [machine.submit("slow", {"number": number}) for number in range(6)]
    reports = [machine.finished(task) for task in tasks]
    assert [report["state"] for report in reports] == ["succeeded"] * 24
    assert machine.show("Result") == "success"


def test_a_daemon_that_is_killed_comes_back_and_finishes_what_it_had(machine: Machine) -> None:
    tasks = [machine.submit("slow", {"number": number}) for number in range(6)]
    until(lambda: machine.get(f"/reports/{tasks[0]}")["state"] != "queued", 30)
    before, restarts = machine.pid, int(machine.show("NRestarts"))
    machine.run("kill", "-KILL", str(before))
    until(lambda: machine.pid not in (0, before), 20)
    until(machine.ready, 30)
    assert int(machine.show("NRestarts")) == restarts + 1
    assert [machine.finished(task)["state"] for task in tasks] == ["succeeded"] * 6


def test_a_daemon_that_does_not_feed_the_watchdog_is_restarted(machine: Machine) -> None:
    before = machine.pid
    machine.run("kill", "-STOP", str(before))
    until(lambda: machine.pid not in (0, before), 60)
    until(machine.ready, 30)
    assert "Watchdog timeout" in machine.run("journalctl", "-u", "reportd", "--since=-2min")
    assert machine.finished(machine.submit("sales_summary", SAMPLE))["state"] == "succeeded"


def test_a_reload_changes_report_types_and_a_bad_file_changes_nothing(machine: Machine) -> None:
    before, good = machine.pid, machine.run("cat", "/etc/reportd/reportd.toml")
    try:
        machine.put("/etc/reportd/reportd.toml", good + '[reports.new]\ntemplate = "slow.html"\n')
        machine.run("systemctl", "reload", "reportd")
        assert machine.finished(machine.submit("new", {"number": 1}))["state"] == "succeeded"
        machine.put("/etc/reportd/reportd.toml", good + "[reports.new]\ntemplte = 1\n")
        machine.run("systemctl", "reload", "reportd")
        until(lambda: "the previous configuration stays in force" in machine.show("StatusText"), 10)
        assert "did you mean reports.new.template?" in machine.run(
            "journalctl", "-u", "reportd", "-p", "err", "-n", "5"
        )
        assert machine.finished(machine.submit("new", {"number": 2}))["state"] == "succeeded"
    finally:
        machine.put("/etc/reportd/reportd.toml", good)
        machine.run("systemctl", "reload", "reportd")
    until(lambda: "before" not in machine.show("StatusText"), 10)
    assert machine.pid == before
    assert machine.show("ActiveState") == "active"


def test_tokens_from_a_file_can_be_taken_back_and_those_of_a_credential_are_root_s_alone(machine: Machine) -> None:
    def answers(token: str) -> str:
        header = f"Authorization: Bearer {token}"
        return machine.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", header, f"{URL}/reports")

    def new_token(file: str) -> str:
        machine.sh(f"umask 077; mkdir -p /etc/credstore; reportd token ada read 2> /root/said > {file}")
        return machine.run("grep", "-o", "reportd_.*", "/root/said").strip()

    try:
        secret = new_token("/etc/credstore/reportd.tokens")
        machine.run("systemctl", "restart", "reportd")
        assert (answers(secret), answers("wrong")) == ("200", "401")
        machine.sh("rm /etc/credstore/reportd.tokens; mkdir -p /etc/systemd/system/reportd.service.d")
        secret = new_token("/etc/reportd/tokens")
        machine.sh("chgrp reportd /etc/reportd/tokens; chmod 640 /etc/reportd/tokens")
        drop_in = "[Service]\nEnvironment=REPORTD_AUTH__TOKENS_FILE=/etc/reportd/tokens\n"
        machine.put("/etc/systemd/system/reportd.service.d/tokens.conf", drop_in)
        machine.sh("systemctl daemon-reload; systemctl restart reportd")
        assert answers(secret) == "200"
        machine.sh("reportd token bob read > /etc/reportd/tokens 2> /dev/null; systemctl reload reportd")
        until(lambda: answers(secret) == "401", 10)
    finally:
        machine.sh("rm -rf /etc/systemd/system/reportd.service.d /etc/credstore/reportd.tokens /etc/reportd/tokens")
        machine.sh("systemctl daemon-reload; systemctl restart reportd")


def test_where_systemd_listens_nobody_is_refused(machine: Machine) -> None:
    try:
        machine.sh("systemctl stop reportd; systemctl start reportd.socket")
        assert machine.show("ActiveState") == "inactive"
        # The first request starts it, and waits for its answer.
        assert machine.get("/readyz")["ready"] is True
        before = machine.pid
        machine.sh(f"""
            systemctl restart reportd &
            for number in $(seq 20); do curl -fsS -o /dev/null {URL}/healthz; sleep 0.1; done
            wait""")
        assert machine.pid != before
    finally:
        machine.sh("systemctl stop reportd.socket reportd")


def test_an_upgrade_keeps_everything_and_a_purge_nothing(package: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.deb"
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", "Version: 99.0", control.read_text()))
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(newer)], check=True, stdout=subprocess.DEVNULL
    )
    with open_machine() as machine:
        machine.install(package)
        until(machine.ready, 30)
        assert machine.show("UnitFileState") == "enabled"
        assert machine.run("stat", "-c", "%U %G %a", "/etc/reportd/reportd.toml") == "root reportd 640\n"
        machine.sh("echo '# of an administrator' >> /etc/reportd/reportd.toml")
        task_id = machine.submit("sales_summary", SAMPLE)
        assert machine.finished(task_id)["state"] == "succeeded"
        before = machine.pid
        key = "/var/lib/reportd/reportd.db"

        machine.install(newer)
        until(machine.ready, 30)
        assert "99.0" in machine.run("dpkg-query", "-W", "reportd")
        assert machine.pid != before
        assert machine.get(f"/reports/{task_id}")["state"] == "succeeded"
        machine.run("curl", "-fsS", "-o", "/root/report.pdf", f"{URL}/reports/{task_id}/pdf")
        assert "# of an administrator" in machine.run("cat", "/etc/reportd/reportd.toml")
        assert machine.run("stat", "-c", "%U %G %a", "/etc/reportd/reportd.toml") == "root reportd 640\n"

        # Who has disabled it finds it so after the next upgrade.
        machine.run("systemctl", "disable", "--now", "reportd")
        machine.install(newer)
        assert machine.show("UnitFileState") == "disabled"

        machine.run("systemctl", "start", "reportd")
        machine.run("dpkg", "-r", "reportd")
        assert machine.processes("reportd") == {}
        machine.sh(f"test -e {key}; test -e /etc/reportd/reportd.toml; ! test -e /usr/bin/reportd")
        machine.install(package)
        machine.run("systemctl", "start", "reportd")
        until(machine.ready, 30)
        assert machine.get(f"/reports/{task_id}")["userId"] == USER

        machine.run("dpkg", "-P", "reportd")
        assert machine.processes("reportd") == {}
        left = machine.sh(
            "find / -xdev -name '*reportd*' -not -path '/proc/*' -not -path '/root/*' -not -path '/var/log/*'"
        )
        assert left.split() == []
        assert machine.attempt("systemctl", "cat", "reportd.service")[0] != 0
