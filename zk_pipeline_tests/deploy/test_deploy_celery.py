"""Files for hosts with Celery workers: existing commands, documented variables."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from zk_pipeline.cli.main import cli
from zk_pipeline.config.poll_queues import split_poll_queues
from zk_pipeline.config.settings import VARIABLES
from zk_pipeline_tests.deploy.deploy_files import DEPLOY, PROGRAM

HERE = DEPLOY / "celery"
UNIT = HERE / "zk-pipeline-worker@.service"
SHIPPED = {path: yaml.safe_load((DEPLOY / path / "dagster.yaml").read_text()) for path in ("celery", "kubernetes")}


def understood(command: str, *arguments: str) -> bool:
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    return bool(found.make_context(command, list(arguments)))


def test_unit_and_container_start_a_worker_of_one_queue() -> None:
    (line,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert (program, understood(*arguments)) == (PROGRAM, True)
    (service,) = yaml.safe_load((HERE / "compose.yaml").read_text())["services"].values()
    assert understood(*service["command"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_verifies_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "zk-pipeline-worker@site.service"
    unit.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_example_has_exactly_the_variables_that_dagster_yaml_reads() -> None:
    text = (HERE / "hosts.env.example").read_text()
    named = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    asked = set(re.findall(r"env: ([A-Z_]+)", (HERE / "dagster.yaml").read_text()))
    assert asked == set(named) - set(VARIABLES)
    assert split_poll_queues(named["POLL_QUEUES"].strip('"')) == {"*": "site-{site}"}


@pytest.mark.parametrize("variant", SHIPPED)
def test_settings_unrelated_to_many_hosts_are_those_of_one_host(variant: str) -> None:
    """A change of the shipped file must be made in the others, too."""
    usual, theirs = yaml.safe_load((DEPLOY.parent / "dagster.yaml").read_text()), SHIPPED[variant]
    about_hosts = {"storage", "run_coordinator", "run_launcher"}
    assert set(theirs) == set(usual) | about_hosts
    for part in set(usual) - {"concurrency", "run_monitoring"}:
        assert theirs[part] == usual[part], part
    assert theirs["concurrency"]["pools"] == usual["concurrency"]["pools"]
    differs = {"start_timeout_seconds": 600, "max_resume_run_attempts": 0}
    assert theirs["run_monitoring"] == usual["run_monitoring"] | differs


def test_a_message_expires_with_the_start_timeout_of_its_run() -> None:
    celery = SHIPPED["celery"]
    tasks = celery["run_launcher"]["config"]["config_source"]["task_annotations"]
    assert tasks == {"execute_job": {"expires": celery["run_monitoring"]["start_timeout_seconds"]}}
