"""`zk-pipeline api-token …`: create, list and revoke tokens of the REST API and the web admin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_rows, wide_option
from zk_pipeline.store.api_tokens import SCOPES, ApiToken, Scope

_SHOWN = ["name", "scope", "state", "created_at", "last_used_at"]


@click.group("api-token")
def api_token() -> None:
    """Tokens of the REST API and the web admin."""


@api_token.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="read",
    show_default=True,
    help="read: read everything; request: also request punches; approve: also decide on requests of others, and "
    "change leaves; operate: read, poll, process, sync, retry; admin: all of these, and change devices and hours.",
)
@as_json
def create(name: str, scope: Scope, as_json: bool) -> None:
    """Create a token and print it once. Log in to the web admin with it, or send it as `Authorization: Token …`.

    \b
    Example:  zk-pipeline api-token create payroll --scope read
    """
    token = open_context().store.api_tokens.create(name, scope)
    if as_json:
        print_json({"name": name, "scope": scope, "token": token})
    else:
        click.echo(token)
        note(f"token {name!r} has the scope {scope}; it is not shown again")


@api_token.command("list")
@wide_option
@as_json
def list_(as_json: bool) -> None:
    """List all tokens, including revoked ones, with the time of last use (to within an hour).

    \b
    Example:  zk-pipeline api-token list
    """
    rows = [_row(one) for one in open_context().store.api_tokens.all()]
    none = "no token; create one with `zk-pipeline api-token create NAME`"
    print_rows(rows, _SHOWN, as_json=as_json, none=none, keep={"scope", "state"})


@api_token.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME. A running API rejects it within seconds.

    \b
    Example:  zk-pipeline api-token revoke payroll
    """
    open_context().store.api_tokens.revoke(name)
    click.echo(f"revoked {name}")


def _row(token: ApiToken) -> dict[str, Any]:
    row = asdict(token)
    del row["secret_sha256"]
    return row | {"state": "good" if token.revoked_at is None else "revoked"}
