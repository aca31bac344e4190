"""The container engine, and containers of the image with the restrictions of `deploy/container/compose.yaml`.

`.ci/image` builds the image and sets ZK_PIPELINE_ENGINE and ZK_PIPELINE_COMPOSE, the commands of the engine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from zk_pipeline_tests.deploy.deploy_files import DEPLOY

ENGINE = shlex.split(os.environ.get("ZK_PIPELINE_ENGINE", ""))
COMPOSE = shlex.split(os.environ.get("ZK_PIPELINE_COMPOSE", ""))
IMAGE = "zk-pipeline"
USER = 10001
NEEDS_ENGINE = [
    pytest.mark.stress,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not ENGINE or not COMPOSE, reason="ZK_PIPELINE_ENGINE is not set: run .ci/image"),
]

_COMMON = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())["x-program"]
_RESTRICTIONS = [
    *("--read-only" for _ in [0] if _COMMON["read_only"]),
    *(f"--tmpfs={path}" for path in _COMMON["tmpfs"]),
    *(f"--cap-drop={name}" for name in _COMMON["cap_drop"]),
    *(f"--security-opt={option.removesuffix(':true')}" for option in _COMMON["security_opt"]),
    *("--init" for _ in [0] if _COMMON["init"]),
]


def run(*command: str) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def in_image(*arguments: str, home: Path, entrypoint: str | None = None) -> str:
    """Standard output of a command in a new container of the image, with `home` as its volume and without a network."""
    options = [f"--entrypoint={entrypoint}"] if entrypoint else []
    mount = f"--volume={home}:/var/lib/zk-pipeline"
    return run(*ENGINE, "run", "--rm", "--network=none", *_RESTRICTIONS, *options, mount, IMAGE, *arguments)
