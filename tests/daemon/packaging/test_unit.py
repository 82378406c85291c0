"""The unit: a faulty configuration stays faulty, so systemd is not to start it again for ever."""

from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_faulty_configuration_is_not_started_again() -> None:
    """``build.sh`` copies this very unit into the package, and nothing else has one."""
    unit = ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "reportd.service")
    assert unit["Service"]["RestartPreventExitStatus"] == "2"
    assert "reportd.service" in (ROOT / "packaging" / "debian" / "build.sh").read_text()
    others = [path for path in (ROOT / "packaging").rglob("*") if path.suffix == ".service"]
    assert others == []
