"""Home folder with `.env`, `data/` and Dagster's storage: find it, create its files, export it to child processes.

`settings` defines the variables of `.env`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from zk_pipeline.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATES = ("dagster.yaml", ".env.example")


def find_home(environ: Mapping[str, str]) -> Path:
    """Absolute path of the home: `ZK_PIPELINE_HOME`, else the checkout this package runs from.

    Raises UsageError if there is neither (an installed package without the variable), or for an unknown `~name`.
    """
    named = environ.get("ZK_PIPELINE_HOME", "").strip()
    if named:
        try:
            return Path(named).expanduser().resolve()
        except RuntimeError as error:  # "~name" of an unknown user
            raise UsageError(f"ZK_PIPELINE_HOME={named!r}: {error}") from error
    checkout = PACKAGE.parent
    if (checkout / "dagster.yaml").is_file() and (checkout / "pyproject.toml").is_file():
        return checkout
    raise UsageError(
        "ZK_PIPELINE_HOME is not set and zk_pipeline does not run from a checkout: "
        "set it to the folder for .env, data/ and Dagster's storage (it may be empty)"
    )


def prepare_home(home: Path) -> None:
    """Copy missing template files to `home`. Never overwrites.

    Raises UsageError if the folder cannot be created or written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name in TEMPLATES:
            if not (home / name).exists():
                _copy(_template(name), home / name)
    except OSError as error:
        raise UsageError(f"ZK_PIPELINE_HOME: cannot write to {home}: {error.strerror}") from error


def _copy(template: Path, target: Path) -> None:
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.copyfile(template, part)
    part.replace(target)


def _template(name: str) -> Path:
    packaged = PACKAGE / "_home" / name
    return packaged if packaged.is_file() else PACKAGE.parent / name


def export_home(home: Path, environ: MutableMapping[str, str]) -> None:
    """Export `home` to Dagster and every child process; an explicit DAGSTER_HOME is kept."""
    environ["ZK_PIPELINE_HOME"] = str(home)
    environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")  # an explicit DAGSTER_HOME may lack the shipped dagster.yaml
    if not environ.get("DAGSTER_HOME", "").strip():
        environ["DAGSTER_HOME"] = str(home)
