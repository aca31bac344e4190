"""Commands of units and containers exist with their options."""

from __future__ import annotations

from typing import Any

import click
import pytest
import yaml

from zk_pipeline.cli.main import cli
from zk_pipeline_tests.deploy.deploy_files import DEPLOY, unit_commands


def containers() -> dict[str, Any]:
    composed = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())
    assert isinstance(composed, dict)
    return composed


def container_commands() -> dict[str, list[str]]:
    services = containers()["services"]
    return {name: service["command"] for name, service in services.items() if "command" in service}


STARTED = {**unit_commands(), **container_commands()}


@pytest.mark.parametrize("name", STARTED)
def test_each_started_command_exists(name: str) -> None:
    command, *arguments = STARTED[name]
    found = cli.get_command(click.Context(cli), command)
    assert found is not None, f"{name} starts `zk-pipeline {command}`"
    found.make_context(command, list(arguments))  # raises for an option that it has not


def test_containers_share_one_home_and_the_loopback_of_a_container_that_never_restarts() -> None:
    services = containers()["services"]
    for name in container_commands():
        assert services[name]["volumes"] == ["home:/var/lib/zk-pipeline"]
    for name in services:
        if name != "network":
            assert services[name]["network_mode"] == "service:network"
    assert services["network"]["entrypoint"] == ["sleep", "infinity"]
    assert [port for name in services for port in services[name].get("ports", [])] == [
        "80:80",
        "443:443",
        "8080:8080",
        "8443:8443",
    ]


def test_the_image_contains_the_files_of_the_build() -> None:
    lines = (DEPLOY / "container" / "Dockerfile").read_text().splitlines()
    copied = {
        source for line in lines if line.startswith("COPY ") and "--from" not in line for source in line.split()[1:-1]
    }
    missing = [source for source in copied if not (DEPLOY.parent / source).exists()]
    assert missing == []
    assert {"pyproject.toml", "uv.lock", "zk_pipeline", "dagster.yaml", ".env.example"} <= copied
