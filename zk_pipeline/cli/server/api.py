"""`zk-pipeline api`: serve the REST API and the web admin until interrupted."""

from __future__ import annotations

import threading

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.cli.output import note
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import in_main_thread


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 for a free one.")
def api(host: str, port: int) -> int:
    """Serve the REST API and the web admin.

    Listens on loopback by default. Runs until interrupted; runs that were started here then get 30 seconds to finish.

    \b
    Example:  zk-pipeline api --port 8000
    """
    context = open_context()
    with context.store.database.read("check the store"):
        pass  # an unusable store fails the command, not the first request
    from zk_pipeline.http.origin import is_loopback_name  # noqa: PLC0415
    from zk_pipeline.server.app import create_app  # noqa: PLC0415 (web framework, slow to import)
    from zk_pipeline.server.uvicorn_server import listen_on, log_to_stderr, make_server  # noqa: PLC0415

    settings = context.settings
    is_local = is_loopback_name(f"[{host}]" if ":" in host else host)
    if not settings.api_tokens_required and not is_local:
        raise UsageError(
            f"--host {host}: API_TOKENS_REQUIRED=false is allowed on loopback only: require tokens, or use 127.0.0.1"
        )
    listening = listen_on(host, port)
    log_to_stderr()
    server = make_server(create_app(settings, context.store, context.terminals))
    threading.Thread(target=_warm_up, name="import dagster", daemon=True).start()
    click.echo(_where(listening.getsockname(), is_local=is_local), err=True)
    _hint(context)
    in_main_thread(lambda: server.run(sockets=[listening]))
    return 0


def _where(address: tuple[str, int], *, is_local: bool) -> str:
    host, port = address[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    reach = (
        "this machine only"
        if is_local
        else "EVERY machine that can reach it, without encryption: put a reverse proxy with TLS in front"
    )
    return f"API and web admin at {url} (documentation at {url}/api/docs), for {reach}; Ctrl-C ends it"


def _hint(context: CliContext) -> None:
    if not context.settings.api_tokens_required:
        click.echo("API_TOKENS_REQUIRED=false: every user of this machine has the scope admin", err=True)
    elif not context.store.api_tokens.good():
        note("no API token exists: zk-pipeline api-token create NAME --scope admin")


def _warm_up() -> None:
    import zk_pipeline.runs.run_status  # noqa: F401, PLC0415 (Dagster, slow: not in the first request for a run)
