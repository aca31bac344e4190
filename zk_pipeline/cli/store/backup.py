"""`zk-pipeline backup` and `zk-pipeline restore`: back up and restore the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.context import CliContext, open_context
from zk_pipeline.cli.output import (
    as_json,
    confirm,
    note,
    print_json,
    print_pairs,
    print_table,
    wide_option,
    working,
    yes_option,
)
from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.supervisor import single_instance
from zk_pipeline.store.maintenance.restore import DueDeliveries, Restored


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "output",
    type=click.Path(path_type=Path),
    metavar="TARGET",
    help="Same as TARGET.",
)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep only the N newest backups in the folder.")
@as_json
def backup(target: Path | None, *, output: Path | None, keep: int | None, as_json: bool) -> None:
    """Make a verified copy of the store while runs continue. Readers never wait for it; writers wait while the file is
    copied (0.4 s for 10 million punches).

    TARGET is a file, or a folder (a name without a suffix) in which the copy is named after the time; default: backups/
    in the home. Settings and Dagster's own records are not included.

    \b
    Example:  zk-pipeline backup --keep 14
    """
    if target is not None and output is not None:
        raise UsageError("give the target once: as an argument or with -o")
    target = target or output
    context = open_context()
    with working("copying and verifying the store"):
        made = context.store.backups.make(target or context.settings.backups_path, keep=keep)
    if as_json:
        print_json(made)
        return
    click.echo(f"{made.file}: {made.bytes / 1e6:,.1f} MB, {made.rows['raw_punches']:,} punches, verified")
    for old in made.removed:
        note(f"removed {old}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@yes_option
@click.option("--dry-run", is_flag=True, help="Only show what would change, and which deliveries would become due.")
@click.option("--force", is_flag=True, help="Restore even while Dagster runs are in progress.")
@wide_option
@as_json
def restore(file: Path, yes: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Replace the store by a backup. The backup is verified first; the replaced store is kept in the same folder.

    Terminals, punches, days, deliveries and API tokens of the replaced store are carried over. Shifts, holidays and
    clock corrections are those of the backup (docs/operating.md). Stop `zk-pipeline up` before.

    \b
    Example:  zk-pipeline restore backup.duckdb --yes
    """
    context = open_context()
    replaced = context.store.database.path  # raises UsageError unless the store is a file
    context.store.restore.check_file(file)
    if dry_run:
        _preview(context, file, as_json=as_json)
        return
    with single_instance(context.settings.home):
        if not force:
            _refuse_while_runs(context)
        confirm(f"Replace {replaced} by {file}?", yes=yes)
        with working("restoring the store"):
            done = context.store.restore.run(file)
    if as_json:
        print_json(asdict(done) | {"next": _next(context.settings, done)})
        return
    print_pairs({"store": done.file, "replaced store": done.replaced or "none"} | _summary(done))
    click.echo("\n".join([*_warnings(context.settings, done), *_next(context.settings, done)]))


def _preview(context: CliContext, file: Path, *, as_json: bool) -> None:
    from zk_pipeline.operations.restore import preview_restore  # noqa: PLC0415 (pandas, slow to import)
    from zk_pipeline.operations.work_dates import last_work_date  # noqa: PLC0415 (Dagster, slow to import)

    last = last_work_date(context.settings, context.store.clock())
    with working("restoring a copy"):
        seen = preview_restore(context.store, context.settings, file, last=last)
    if as_json:
        print_json(seen)
        return
    changed = [table for table in seen.restored.tables if len({table.backup, table.replaced, table.restored}) > 1]
    print_table([asdict(table) for table in changed], ["table", "backup", "replaced", "restored"])
    print_pairs(
        _summary(seen.restored)
        | {
            "work dates with changed days": len(seen.dates_changed),
            "due at the CRM without the restore": _due(seen.due_before),
            "due at the CRM after restore and process": _due(seen.due_after),
        }
    )
    problems = [f"{day} cannot be processed: {why}" for day, why in seen.failed.items()]
    click.echo("\n".join([*_warnings(context.settings, seen.restored), *problems, "nothing was changed"]))


def _due(due: DueDeliveries | None) -> str:
    if due is None:
        return "unknown: the store cannot be read"
    return f"{counted(due.records, 'record')}, {counted(due.retractions, 'retraction')}"


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
        "days revised or delivered since, carried over": carried.days,
        **{name: ", ".join(names) for name, names in lists.items() if names},
        **{
            f"{table} back to the backup": f"{counted(gone, 'row')} removed, {counted(back, 'row')} added"
            for table, (gone, back) in carried.undone.items()
        },
        "work dates to process again": len(carried.stale),
    }


def _refuse_while_runs(context: CliContext) -> None:
    from zk_pipeline.defs.instance.runs_in_progress import any_run_in_progress  # noqa: PLC0415 (Dagster, slow to import)

    with context.launcher() as launcher:
        busy = any_run_in_progress(launcher.instance, launcher.names)
    if busy:
        raise UsageError(f"{busy}: wait for it or terminate it, or restore with --force")


def _warnings(settings: Settings, done: Restored) -> list[str]:
    if done.is_history_complete:
        return []
    return [
        f"nothing was carried over from a replaced store: {done.not_carried}",
        "lost since the backup: registered terminals (`zk-pipeline device list`), created API tokens and "
        "revocations (`zk-pipeline api-token list`): revoke such tokens again",
        *([_doubt(settings, done.in_doubt)] if done.in_doubt else []),
        "deliveries since the backup are unknown: days that differ from the backup are sent again under higher "
        "revisions; days that are as in the backup are not, although the CRM may have another revision "
        "(remedy: docs/operating.md)",
    ]


def _doubt(settings: Settings, count: int) -> str:
    undelivered = f"{counted(count, 'undelivered record')} of the backup may have arrived since"
    if settings.crm_lookup is not None:
        return f"{undelivered}: the CRM is asked (CRM_LOOKUP) before one is sent again"
    return (
        f"{undelivered}: `sync` sends those that wait again, `sync --retry-failed` the dead letters, which only a CRM "
        "that stores idempotency keys applies once (docs/crm.md); set CRM_LOOKUP first if yours does not"
    )


_NEXT = {
    "poll": "reads the whole log of every terminal",
    "process": "processes the changed work dates again",
    "sync": "sends due deliveries to the CRM",
}


def next_commands(settings: Settings, done: Restored) -> list[str]:
    """Commands to run after a restore, in order."""
    if done.is_history_complete and not done.carried.stale:
        return ["poll"]
    return ["poll", "process"] if settings.crm_api_url is None else ["poll", "process", "sync"]


def _next(settings: Settings, done: Restored) -> list[str]:
    lines = [f"zk-pipeline {command} ({_NEXT[command]})" for command in next_commands(settings, done)]
    return [f"{'next:' if not number else '     '} {line}" for number, line in enumerate(lines)]
