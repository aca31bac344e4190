"""Metadata of the package: one set of Python versions everywhere, a licence, and types for those who import it."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
CLASSIFIERS: list[str] = PROJECT["project"]["classifiers"]
VERSIONS = [
    match[1] for one in CLASSIFIERS if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one))
]


def test_ci_runs_all_checks_on_each_supported_version_of_python() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    for name, command in {"run": ".ci/run", "package": ".ci/package python3"}.items():
        job = workflow["jobs"][name]
        assert job["strategy"]["matrix"]["python"] == VERSIONS
        assert command in [step.get("run") for step in job["steps"]]


def test_each_script_of_ci_is_run_by_the_workflow() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = " ".join(step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])
    scripts = {f".ci/{path.name}" for path in (CHECKOUT / ".ci").iterdir()}
    assert scripts == set(re.findall(r"\.ci/[\w-]+", commands))


def test_the_oldest_supported_version_is_the_required_one() -> None:
    assert PROJECT["project"]["requires-python"] == f">={VERSIONS[0]}"
    assert PROJECT["tool"]["mypy"]["python_version"] == VERSIONS[0]
    for page in ("README.md", "CONTRIBUTING.md", "docs/first-look.md"):
        named = re.findall(r"Python (3\.\d+) or newer", (CHECKOUT / page).read_text(encoding="utf-8"))
        assert named == [VERSIONS[0]], page


def test_the_package_is_typed_licensed_and_refused_by_public_indexes() -> None:
    assert resources.files("zk_pipeline").joinpath("py.typed").is_file()
    assert all((CHECKOUT / name).is_file() for name in PROJECT["project"]["license-files"])
    assert "Private :: Do Not Upload" in CLASSIFIERS
    assert "Typing :: Typed" in CLASSIFIERS


def test_a_production_install_has_neither_the_tests_nor_the_documentation_site() -> None:
    groups = PROJECT["dependency-groups"]
    assert {"include-group": "docs"} in groups["dev"]  # left out by --no-dev, and there for `uv run mkdocs serve`
    assert "default-groups" not in PROJECT["tool"]["uv"]
