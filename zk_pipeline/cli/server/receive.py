"""`zk-pipeline receive`: accept the uploads of terminals that push, until interrupted."""

from __future__ import annotations

import logging

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.runtime.processes import in_main_thread


@click.command()
@click.option("--host", help="Address to listen on; 0.0.0.0 for all.  [default: RECEIVER_HOST, else 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port; 0 for a free one.  [default: RECEIVER_PORT, else 8081]"
)
@click.option(
    "--trust-clock",
    is_flag=True,
    help="Accept the clock of this host although no time service has set it and no terminal was connected lately.",
)
def receive(host: str | None, port: int | None, trust_clock: bool) -> int:
    """Receive the punches of terminals that push.

    Such terminals (ADMS, "cloud server" in their menu) connect to this host. Punches are stored before they are
    acknowledged. An unknown terminal is refused until `zk-pipeline device adopt`; it keeps its punches. Terminals set
    their clocks by this host. Runs until interrupted.

    \b
    Example:  zk-pipeline receive --port 8081
    """
    context = open_context()
    with context.store.database.read("check the store"):
        pass  # an unusable store fails the command, not the first upload
    from zk_pipeline.server.receiver_server import (  # noqa: PLC0415 (web framework, slow to import)
        create_receiver,
        make_receiver_server,
        receiver_store,
    )
    from zk_pipeline.server.uvicorn_server import listen_on, log_to_stderr  # noqa: PLC0415

    settings = context.settings
    listening = listen_on(host or settings.receiver_host, settings.receiver_port if port is None else port)
    log_to_stderr()
    logging.getLogger("uvicorn").setLevel("ERROR")  # its warning of each invalid request floods the log
    server = make_receiver_server(create_receiver(settings, receiver_store(settings), trusts_clock=trust_clock))
    click.echo(_where(listening.getsockname()), err=True)
    in_main_thread(lambda: server.run(sockets=[listening]))
    return 0


def _where(address: tuple[str, int]) -> str:
    host, port = address[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return f"receiver at {url}; `zk-pipeline device pending` lists terminals to adopt; Ctrl-C ends it"
