"""Imports: no side effects, no upward imports between packages."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "zk_pipeline"
POISON = {
    "ZK_PIPELINE_HOME": "/proc/no/such/home",
    "ZK_PIPELINE_DATABASE": "/proc/no/such.duckdb",
    "WORK_START_TIME": "quarter past nine",
    "CRM_API_URL": "not an address",
    "CRM_CONCURRENCY": "many",
}
# Runs in a separate process. `complaints`: side effects of the package's modules at import.
IMPORT_ALL = """
import os, pkgutil, sys
package = sys.argv[1]
complaints = []

def module_of(frame, through):
    # The package's module behind a frame; empty for the import system itself.
    while frame and through(frame.f_globals.get("__name__", "")):
        if frame.f_code.co_filename.startswith(package):
            break
        frame = frame.f_back
    name = frame.f_code.co_filename if frame else ""
    return name if name.startswith(package) else ""

read = os._Environ.__getitem__
def watched(self, name):
    if culprit := module_of(sys._getframe(1), lambda module: module in ("os", "collections.abc")):
        complaints.append(f"{culprit} read {name} from the environment")
    return read(self, name)
os._Environ.__getitem__ = watched

def audit(event, arguments):
    if event in ("open", "os.mkdir", "socket.__new__", "sqlite3.connect", "subprocess.Popen"):
        if culprit := module_of(sys._getframe(1), lambda module: not module.startswith("importlib._boot")):
            complaints.append(f"{culprit} caused {event} {arguments[0]}")
sys.addaudithook(audit)

import zk_pipeline
modules = [item.name for item in pkgutil.walk_packages(zk_pipeline.__path__, "zk_pipeline.")]
for name in modules:
    if not name.endswith("__main__"):
        __import__(name)
print(len(modules))
sys.exit("\\n".join(complaints) or 0)
"""


def test_importing_every_module_reads_no_environment_and_opens_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, str(PACKAGE)],
        env={**os.environ, **POISON},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_the_watch_over_imports_notices_what_it_is_there_for(tmp_path: Path) -> None:
    """Check of the audit hook above, with a package that has forbidden side effects."""
    package = tmp_path / "zk_pipeline"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nos.environ.get('HOME')\nopen('/proc/self/stat').close()\n")
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, str(package)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "read HOME from the environment" in done.stderr
    assert "caused open /proc/self/stat" in done.stderr


def test_the_package_offers_the_dagster_component_without_importing_dagster() -> None:
    script = "import sys, zk_pipeline; print('AttendancePipeline' in dir(zk_pipeline), 'dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


@pytest.mark.parametrize("domain", ["devices", "attendance", "crm", "simulator", "operations", "store"])
def test_domain_packages_import_neither_dagster_nor_what_is_above_them(domain: str) -> None:
    forbidden = {"dagster", "zk_pipeline.defs", "zk_pipeline.cli", "zk_pipeline.api", "zk_pipeline.web"}
    if domain not in ("operations", "store"):
        forbidden |= {
            "duckdb",
            "zk_pipeline.store",
            "zk_pipeline.operations",
            "zk_pipeline.config.settings",
            "zk_pipeline.config.home",
        }
    elif domain == "operations":
        forbidden |= {"duckdb"}
    else:
        forbidden |= {"zk_pipeline.operations", "zk_pipeline.config.settings"}
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in (PACKAGE / domain).rglob("*.py")
        for name in _imported(path)
        for root in forbidden
        if name == root or name.startswith(f"{root}.")
    }
    assert found == set()


# From top to bottom: a package imports only from lower layers and from its own.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"server"},
    {"receiver"},
    {"web"},
    {"api"},
    {"http"},
    {"runs"},
    {"definitions"},
    {"defs"},
    {"operations"},
    {"store"},
    {"attendance", "crm", "devices", "simulator", "runtime", "config"},
    {"data_libraries", "errors", "yaml_file", "beta_warnings", "counted", "time_text", "__version__"},
)
LEVEL = {name: number for number, names in enumerate(LAYERS) for name in names}


def test_every_package_has_its_layer() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")}
    assert found | {"__version__"} == LEVEL.keys()


def test_no_package_imports_one_above_it() -> None:
    upward = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        for name in _imported(path)
        if name.startswith("zk_pipeline.")
        and (here := path.relative_to(PACKAGE).with_suffix("").parts[0]) in LEVEL
        and LEVEL.get(name.split(".")[1], len(LAYERS)) < LEVEL[here]
    }
    assert upward == set()


@pytest.mark.parametrize("package", ["store", "defs", "operations", "simulator", "devices", "cli", "web"])
def test_rooms_of_a_package_do_not_import_each_other_in_a_circle(package: str) -> None:
    imports: dict[str, set[str]] = {}
    for path in (PACKAGE / package).rglob("*.py"):
        here = _room(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts), package)
        for name in _imported(path):
            if name.startswith(f"zk_pipeline.{package}.") and (there := _room(name, package)) != here:
                imports.setdefault(here, set()).add(there)
    assert len(list(TopologicalSorter(imports).static_order())) > 1  # raises CycleError


def _room(module: str, package: str) -> str:
    """The sub-package or module directly below `package`."""
    return module.split(".")[2] if module.count(".") > 1 else package


@cache
def _imported(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)
