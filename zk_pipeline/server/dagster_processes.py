"""Dagster's code server, webserver and daemon of `up`: `python -m zk_pipeline.server.dagster_processes`.

They use mostly the same modules, 100 to 130 MB and two seconds of CPU time each. This process imports them once and
forks the three, which share much of that memory; then it waits until one of them ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import yaml

from zk_pipeline.runtime.forked_processes import ForkedProcesses, Part
from zk_pipeline.runtime.interpreter import slow_imports
from zk_pipeline.runtime.supervisor import ENDED_FILE

with slow_imports():
    import zk_pipeline.server.dagster_webserver as webserver
    from zk_pipeline.defs.dagster_internals import import_commands
    from zk_pipeline.runs import code_server, daemon

_LOCATION = "zk_pipeline"


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Folder of sockets, empty at the start.")
@click.option("--port", type=int, required=True, help="Port of the webserver, on loopback.")
@click.option("--logs", type=click.Path(path_type=Path), help="Folder for the output of each process.")
def main(folder: Path, port: int, logs: Path | None) -> None:
    """Run the processes until SIGTERM, or until one ends: then exit with 1, and its name and exit code in ENDED_FILE.

    The environment must contain `fork_server.ONE_THREAD`.
    """
    import_commands()
    code_server.warm_up()
    ended = ForkedProcesses().run(list(_parts(folder, port, logs)))
    if ended is not None:
        name, code = ended
        (folder / ENDED_FILE).write_text(f"{name} {code}")
        sys.exit(1)


def _parts(folder: Path, port: int, logs: Path | None) -> list[Part]:
    """Each needs the one before it: the daemon, whose ticks the code server evaluates, is the first to end."""
    code_socket, workspace = folder / "code.sock", folder / "workspace.yaml"
    server = {"grpc_server": {"socket": str(code_socket), "location_name": _LOCATION}}
    workspace.write_text(yaml.safe_dump({"load_from": [server]}))
    location = ("--socket", str(code_socket), "--location-name", _LOCATION)
    web = ("-h", "127.0.0.1", "-p", str(port), "-w", str(workspace), "--dagster-log-level", "warning")
    work = ("run", "-w", str(workspace), "--log-level", "warning")

    def output(name: str) -> Path | None:
        return None if logs is None else logs / f"{name}.log"

    return [
        Part("code-server", code_server.__name__, location, code_socket.exists, output("code-server")),
        Part("webserver", webserver.__name__, web, output=output("webserver")),
        Part("daemon", daemon.__name__, work, output=output("daemon")),
    ]


if __name__ == "__main__":
    main()
