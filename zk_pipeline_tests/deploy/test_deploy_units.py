"""systemd units and log rotation, verified by systemd and logrotate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from zk_pipeline_tests.deploy.deploy_files import DEPLOY, PROGRAM, unit_commands


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    units = shutil.copytree(DEPLOY / "systemd", tmp_path / "units")
    for unit in units.glob("*.service"):
        unit.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))  # the program is not installed there
    names = [str(path) for path in sorted(units.iterdir()) if path.is_file()]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_timer_has_its_service_and_every_endless_service_is_started_at_boot() -> None:
    units = {path.name: path.read_text() for path in (DEPLOY / "systemd").iterdir() if path.is_file()}
    timers = {name.removesuffix(".timer") for name in units if name.endswith(".timer")}
    for name, text in units.items():
        if name.endswith(".service"):
            is_timed = name.removesuffix(".service") in timers
            assert ("Type=oneshot" in text, "WantedBy=multi-user.target" in text) == (is_timed, not is_timed)
    assert timers <= {name.removesuffix(".service") for name in unit_commands()}


@pytest.mark.skipif(not shutil.which("logrotate"), reason="logrotate is not installed")
def test_logrotate_rotates_the_log_of_the_api(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("a line\n")
    rules = (DEPLOY / "logrotate" / "zk-pipeline").read_text().replace("/var/log/zk-pipeline", str(tmp_path))
    config = tmp_path / "rules"
    config.write_text("\n".join(line for line in rules.splitlines() if " su " not in line))  # that user is not there
    config.chmod(0o644)
    command = [str(shutil.which("logrotate")), "--force", "--state", str(tmp_path / "state"), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (log.read_text(), (tmp_path / "api.log.1").read_text()) == ("", "a line\n")
