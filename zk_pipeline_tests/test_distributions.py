"""Wheel and sdist: their files, metadata and entry points."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a wheel and an sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """Path → content of each file of the wheel."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tracked(*paths: str) -> set[str]:
    """Files of the repository below some paths, relative to its top."""
    listed = subprocess.run(["git", "ls-files", "-z", "--", *paths], cwd=CHECKOUT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository")
    return {name for name in listed.stdout.decode().split("\0") if name and (CHECKOUT / name).exists()}


def in_wheel(wheel: dict[str, bytes], pattern: str) -> bytes:
    (name,) = (name for name in wheel if re.fullmatch(pattern, name))
    return wheel[name]


def test_the_wheel_has_each_file_of_the_package_and_what_an_empty_home_is_filled_with(wheel: dict[str, bytes]) -> None:
    packaged = {name for name in wheel if ".dist-info/" not in name}
    home = {f"zk_pipeline/_home/{name}" for name in ("dagster.yaml", ".env.example")}
    assert tracked("zk_pipeline") | home <= packaged
    assert {name.partition("/")[0] for name in packaged} == {"zk_pipeline"}
    assert "zk_pipeline/py.typed" in packaged
    for name in home:
        assert wheel[name] == (CHECKOUT / Path(name).name).read_bytes()


def test_the_metadata_is_valid_and_names_the_licence(wheel: dict[str, bytes]) -> None:
    metadata = Metadata.from_email(in_wheel(wheel, r".*\.dist-info/METADATA"), validate=True)
    assert (metadata.name, metadata.license_expression) == ("zk-pipeline", "LicenseRef-Proprietary")
    assert metadata.requires_python == SpecifierSet(">=3.11")
    assert metadata.description_content_type == "text/markdown"
    assert in_wheel(wheel, r".*\.dist-info/licenses/LICENSE") == (CHECKOUT / "LICENSE").read_bytes()


def test_each_extra_adds_packages_and_the_base_install_has_none_of_them(wheel: dict[str, bytes]) -> None:
    metadata = Metadata.from_email(in_wheel(wheel, r".*\.dist-info/METADATA"), validate=True)
    requirements = metadata.requires_dist or []
    base = {one.name for one in requirements if one.marker is None}
    assert set(metadata.provides_extra or []) == {"celery", "ducklake", "ducklake-s3", "kubernetes"}
    for extra in metadata.provides_extra or []:
        assert _added_by(extra, requirements) - base, extra
    assert not base & {"pytest", "ruff", "mypy", "psycopg2-binary", "dagster-celery", "dagster-k8s"}


def _added_by(extra: str, requirements: list[Requirement]) -> set[str]:
    return {one.name for one in requirements if one.marker is not None and one.marker.evaluate({"extra": extra})}


def test_the_wheel_installs_the_command_and_the_dagster_component(wheel: dict[str, bytes]) -> None:
    entry_points = in_wheel(wheel, r".*\.dist-info/entry_points\.txt").decode()
    assert "zk-pipeline = zk_pipeline.__main__:main" in entry_points
    assert "[dagster_dg_cli.registry_modules]" in entry_points


def test_the_sdist_has_the_files_of_the_repository_and_nothing_else_that_lies_at_its_top(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    repository = tracked()
    assert repository <= packed
    assert {name.partition("/")[0] for name in packed} == {name.partition("/")[0] for name in repository} | {"PKG-INFO"}
