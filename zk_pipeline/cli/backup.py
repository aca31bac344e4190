"""`backup` and `restore`: the store as a file, out and in again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.cli.output import as_json, confirm, note, print_json, print_pairs, print_table, yes_option
from zk_pipeline.config.settings import Settings
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.supervisor import single_instance
from zk_pipeline.store.maintenance.restore import Due, Restored

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
    session = open_context()
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
@click.option("--dry-run", is_flag=True, help="Only show what would change, and what the CRM would be told.")
@click.option("--force", is_flag=True, help="Although Dagster shows runs that are under way.")
@as_json
def restore(file: Path, yes: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Put a backup in the store's place. It is read as a whole first; the store that was there stays beside it.

    Terminals, punches, days, deliveries and API tokens of the replaced store are taken over. Shifts, holidays and clock
    corrections go back to the backup (docs/operating.md). Stop `zk-pipeline up` before.

    \b
    Example:  zk-pipeline restore backup.duckdb --yes
    """
    session = open_context()
    replaced = session.store.database.path  # refused here where the store is no file
    if dry_run:
        _preview(session, file, as_json=as_json)
        return
    with single_instance(session.settings.home):
        if not force:
            _refuse_while_runs(session)
        confirm(f"Replace {replaced} by {file}?", yes=yes)
        done = session.store.restoring.restore(file)
    if as_json:
        print_json(asdict(done) | {"next": _next(session.settings, done)})
        return
    print_pairs({"store": done.file, "replaced store": done.replaced or "none"} | _summary(done))
    click.echo("\n".join([*_warnings(session.settings, done), *_next(session.settings, done)]))


def _preview(session: CliContext, file: Path, *, as_json: bool) -> None:
    from zk_pipeline.defs.partitions import last_work_date  # noqa: PLC0415 (Dagster, slow to import)
    from zk_pipeline.operations.restore import preview_restore  # noqa: PLC0415 (pandas, slow to import)

    last = last_work_date(session.settings, session.store.clock())
    seen = preview_restore(session.store, session.settings, file, last=last)
    if as_json:
        print_json(seen)
        return
    changed = [table for table in seen.restored.tables if len({table.backup, table.replaced, table.restored}) > 1]
    print_table([asdict(table) for table in changed], ["table", "backup", "replaced", "restored"])
    print_pairs(
        _summary(seen.restored)
        | {
            "work dates that come out different": len(seen.dates_changed),
            "due at the CRM without the restore": _due(seen.due_before),
            "due at the CRM after restore and process": _due(seen.due_after),
        }
    )
    problems = [f"{day} cannot be made: {why}" for day, why in seen.failed.items()]
    click.echo("\n".join([*_warnings(session.settings, seen.restored), *problems, "nothing was changed"]))


def _due(due: Due | None) -> str:
    if due is None:
        return "not known: the store cannot be read"
    return f"{due.records:,} records, {due.retractions:,} retractions"


def _summary(done: Restored) -> dict[str, object]:
    carried = done.carried
    version = str(done.version) if done.version == done.from_version else f"{done.from_version} -> {done.version}"
    lists = {
        "terminals registered since": carried.devices_added,
        "terminals changed since": carried.devices_changed,
        "terminals removed since, not polled": carried.devices_removed,
        "API tokens created since, still valid": carried.tokens_added,
        "API tokens revoked since, still revoked": carried.tokens_revoked,
    }
    return {
        "version": version,
        "days revised or delivered since, taken over": carried.days,
        **{name: ", ".join(names) for name, names in lists.items() if names},
        **{
            f"{table} back to the backup": f"{gone} rows gone, {back} rows back"
            for table, (gone, back) in carried.undone.items()
        },
        "work dates to make again": len(carried.stale),
    }


def _refuse_while_runs(session: CliContext) -> None:
    from zk_pipeline.defs.instance.runs_in_progress import any_run_in_progress  # noqa: PLC0415 (Dagster, slow to import)

    with session.launcher() as launcher:
        busy = any_run_in_progress(launcher.instance)
    if busy:
        raise UsageError(f"{busy}: wait for it or terminate it, or restore with --force")


def _warnings(settings: Settings, done: Restored) -> list[str]:
    if done.is_history_complete:
        return []
    return [
        f"nothing was taken over from a replaced store: {done.not_carried}",
        "since the backup are lost: registered terminals (`zk-pipeline device list`), created API tokens and "
        "revocations (`zk-pipeline api-token list`): revoke again what must not be valid",
        *([_doubt(settings, done.in_doubt)] if done.in_doubt else []),
        "what the CRM was told since the backup is not known here: days that turn out different are sent again "
        "under higher revisions; one that is as in the backup is not, although the CRM may hold another "
        "(docs/operating.md names the cure)",
    ]


def _doubt(settings: Settings, count: int) -> str:
    one = count == 1
    words = f"{count:,} {'waits' if one else 'wait'} in the backup and may have arrived since"
    it, is_sent = ("it", "it is sent") if one else ("each", "they are sent")
    if settings.crm_lookup is not None:
        return f"deliveries: {words}: CRM_LOOKUP is asked before {it} is sent"
    return (
        f"deliveries: {words}: without CRM_LOOKUP {is_sent} again, which only a CRM that stores idempotency keys "
        "applies once (docs/crm.md); set it before the next sync if yours does not"
    )


_NEXT = {
    "poll": "reads every terminal's log as a whole",
    "process": "makes the work dates again that changed",
    "sync": "sends to the CRM what is due",
}


def next_commands(settings: Settings, done: Restored) -> list[str]:
    """Commands to run after a restore, in order."""
    if done.is_history_complete and not done.carried.stale:
        return ["poll"]
    return ["poll", "process"] if settings.crm_api_url is None else ["poll", "process", "sync"]


def _next(settings: Settings, done: Restored) -> list[str]:
    words = [f"zk-pipeline {command} ({_NEXT[command]})" for command in next_commands(settings, done)]
    return [f"{'next:' if not number else '     '} {line}" for number, line in enumerate(words)]
