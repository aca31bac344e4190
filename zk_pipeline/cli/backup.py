"""`backup` and `restore`: the store as a file, out and in again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.output import as_json, confirm, note, print_json, print_pairs, yes_option
from zk_pipeline.cli.session import Session, open_session
from zk_pipeline.errors import UsageError
from zk_pipeline.store.restoring import Restored
from zk_pipeline.supervisor import only_one

_FOLDER = "backups"


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep only the N newest backups in the folder.")
@as_json
def backup(target: Path | None, keep: int | None, as_json: bool) -> None:
    """A verified copy of the store, made while runs go on. Readers never wait for it, writers for as long as the copy
    takes (0.4 s for 10 million punches).

    TARGET is a file, or a folder (a name without an ending), in which the copy gets a name of its time; backups/ in the
    home without. Settings and Dagster's own records are not in it.

    \b
    Example:  zk-pipeline backup --keep 14
    """
    session = open_session()
    made = session.store.backups.make(target or session.settings.home / _FOLDER, keep=keep)
    if as_json:
        print_json(made)
        return
    click.echo(f"{made.file}: {made.bytes / 1e6:,.1f} MB, {made.rows['raw_punches']:,} punches, verified")
    for old in made.removed:
        note(f"removed {old}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@yes_option
@click.option("--force", is_flag=True, help="Although Dagster shows runs that are under way.")
@as_json
def restore(file: Path, yes: bool, force: bool, as_json: bool) -> None:
    """Put a backup in the store's place. It is read as a whole first; the store that was there stays beside it.

    What the CRM was told since the backup is taken over from the store that is replaced. Punches are not: read the
    terminals anew with `poll`, then make the dates it names with `process`. End `zk-pipeline up` before.

    \b
    Example:  zk-pipeline restore backup.duckdb --yes
    """
    session = open_session()
    replaced = session.store.database.path  # refused here where the store is no file
    with only_one(session.settings.home):
        if not force:
            _refuse_while_runs(session)
        confirm(f"Replace {replaced} by {file}?", yes=yes)
        done = session.store.restoring.restore(file)
    if as_json:
        print_json(asdict(done) | {"next": _next(done)})
        return
    print_pairs(
        {
            "store": done.file,
            "version": done.version if done.version == done.from_version else f"{done.from_version} -> {done.version}",
            "punches": f"{done.rows['raw_punches']:,}",
            "replaced store": done.replaced or "none",
            "days whose later revisions were taken over": done.days_carried,
        }
    )
    click.echo("\n".join(_next(done)))


def _refuse_while_runs(session: Session) -> None:
    from zk_pipeline.defs.in_flight import any_in_flight  # noqa: PLC0415 (Dagster, slow to import)

    with session.launcher() as launcher:
        busy = any_in_flight(launcher.instance)
    if busy:
        raise UsageError(f"{busy}: wait for it or terminate it, or restore with --force")


def _next(done: Restored) -> list[str]:
    lines = ["next: zk-pipeline poll (reads every log as a whole)"]
    if done.first is not None:
        lines.append(f"      zk-pipeline process --start-date {done.first} --end-date {done.last}")
    if not done.is_history_complete:
        lines.append(
            "what the CRM was told since the backup is not known here: days that turn out different are sent again "
            "under higher revisions; one that is as in the backup is not, although the CRM may hold another"
        )
    return lines
