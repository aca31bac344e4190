"""Dagster's code server, with runs that are forked: `python -m zk_pipeline.runs.code_server`.

Dagster's own starts a new interpreter for each run, which imports everything again. Only the start of the process
differs: Dagster's run launcher, code server and run monitoring cancel, limit and watch it as they do any other.
"""

from __future__ import annotations

import gc
import multiprocessing
from functools import cache, partial
from multiprocessing.context import BaseContext
from pathlib import Path

import click
import dagster as dg
import duckdb

from zk_pipeline.definitions import defs
from zk_pipeline.defs.dagster_internals import run_code_server
from zk_pipeline.runs.instance import upgrade_instance
from zk_pipeline.runtime.fork_server import start_fork_server


@click.command()
@click.option("--socket", type=click.Path(path_type=Path), required=True, help="Unix socket of the code server.")
@click.option("--location-name", required=True, help="Name of the code location.")
def main(socket: Path, location_name: str) -> None:
    """Serve the code location `zk_pipeline.definitions`. The environment must contain `fork_server.ONE_THREAD`."""
    location = ("--module-name", "zk_pipeline.definitions", "--location-name", location_name)
    run_code_server(
        ["--socket", str(socket), *location, "--log-level", "warning"],
        partial(run_processes, socket.with_name("fork.sock")),
    )


def run_processes(address: Path) -> BaseContext:
    """Start the fork server. Returns the context in which processes of runs are started."""
    warm_up()
    return multiprocessing.get_context("forkserver" if start_fork_server(address) else "spawn")


@cache
def warm_up() -> None:
    """Import what runs use and build the definitions, unless the process that has forked this one did. Leaves no
    connection open and starts no thread.
    """
    defs().get_repository_def().get_all_jobs()
    with dg.DagsterInstance.get() as instance:  # imports the classes that `dagster.yaml` names
        upgrade_instance(instance)  # `up` starts the daemon and the webserver later
    duckdb.default_connection().close()  # `import duckdb` opens it, with a thread
    gc.freeze()  # a collection in a forked process would copy all pages


if __name__ == "__main__":
    main()
