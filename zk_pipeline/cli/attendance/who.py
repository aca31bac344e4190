"""`zk-pipeline who`: the muster list."""

from __future__ import annotations

import difflib

import click

from zk_pipeline.cli.context import SITE, open_context
from zk_pipeline.cli.output import as_json, print_json, print_table, wide_option
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.muster_list import reading_text, unsafe_reasons
from zk_pipeline.store.days.muster import Muster


@click.command()
@click.option("--site", type=SITE, help="Only this site.")
@wide_option
@as_json
def who(*, site: str | None, as_json: bool) -> None:
    """List who is in now, by site.

    Each user with name, time and terminal of the last punch, and when each terminal was last read. A list whose
    terminals were not read for an hour is marked as not safe. Times are wall clock at the terminal.

    \b
    Example:  zk-pipeline who --site "Head office"
    """
    context = open_context()
    store = context.store
    muster = store.muster.read(store.clock(), debounce_seconds=context.settings.debounce_seconds, site=site)
    if site is not None and not muster.sites:
        sites = {one.site for one in store.devices.all()}
        near = difflib.get_close_matches(site, sites, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"no site {site!r}: no enabled terminal and no punch of today there{hint}")
    if as_json:
        print_json(_plain(muster))
    elif muster.sites:
        _print(muster)
    else:
        click.echo("No terminal is registered; add one with `zk-pipeline device add NAME IP`.")


def _print(muster: Muster) -> None:
    for one in muster.sites:
        click.echo(f"{one.site}: {counted(len(one.present), 'employee')} in")
        if one.present:
            lines = [
                {
                    "name": person.name,
                    "user_id": person.user_id,
                    "since": person.last_punch_local,
                    "terminal": person.device,
                }
                for person in one.present
            ]
            print_table(lines, ("name", "user_id", "since", "terminal"))
        for reading in one.terminals:
            click.echo(reading_text(reading, muster.as_of))
        for reason in unsafe_reasons(one, muster.as_of):
            click.echo(f"NOT SAFE: {reason}")
        click.echo()
    click.echo(f"Total: {counted(sum(len(one.present) for one in muster.sites), 'employee')} in")


def _plain(muster: Muster) -> object:
    """The users who are in, and each site with its total and readings."""
    return {
        "as_of": muster.as_of,
        "present": sum(len(one.present) for one in muster.sites),
        "people": [person for one in muster.sites for person in one.present],
        "sites": [one.totals for one in muster.sites],
    }
