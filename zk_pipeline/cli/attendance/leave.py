"""`zk-pipeline leave …`: add, import, list and remove leaves."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from zk_pipeline.cli.attendance.operators import note_unknown_users, operator_name
from zk_pipeline.cli.context import SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, print_import, print_json, print_rows, wide_option
from zk_pipeline.operations.files.leave_file import ImportOptions, import_leave_file
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.shifts.leaves import DAY_PARTS, LeaveFilter, NewLeave

_SHOWN = ["id", "user_id", "site", "first_date", "last_date", "day_part", "kind", "note", "source", "created_by"]


@click.group()
def leave() -> None:
    """Leave and other reasons of absence."""


@leave.command("add")
@click.option("--user-id", required=True, help="The user.")
@click.option("--start-date", "first", type=WORK_DATE, required=True, help="First work date.")
@click.option("--end-date", "last", type=WORK_DATE, help="Last work date, included.  [default: the first]")
@click.option("--kind", required=True, help="Such as annual leave, sick leave, business trip.")
@click.option("--site", type=SITE, help="Only at this site.  [default: all sites]")
@click.option("--day-part", type=click.Choice(DAY_PARTS), help="Half of each date.  [default: whole dates]")
@click.option("--note", default="", help="Note.")
@as_json
def add(
    *,
    user_id: str,
    first: date,
    last: date | None,
    kind: str,
    site: str | None,
    day_part: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Add a leave; prints its id.

    \b
    Example:  zk-pipeline leave add --user-id 1001 --start-date 2026-11-02 --end-date 2026-11-06 --kind "annual leave"
    """
    wanted = NewLeave(
        user_id=user_id.strip(),
        first_date=first,
        last_date=last or first,
        kind=kind.strip(),
        site=site,
        day_part=day_part,
        note=note.strip(),
    )
    store = open_context().store
    refuse_name(store, wanted.user_id)
    made = store.leaves.add(wanted, operator_name())
    note_unknown_users(store, [made.user_id])
    if as_json:
        print_json(made)
    else:
        click.echo(made.id)


@leave.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--user-id", help="User of all leaves of the file.  [default: as in the file]")
@click.option("--site", type=SITE, help="Site of all leaves of the file.  [default: as in the file]")
@as_json
def import_(file: Path, user_id: str | None, site: str | None, as_json: bool) -> int:
    """Import the leaves of a table (.csv, .xlsx: user_id,first_date,kind[,last_date,site,day_part,note]) or of a
    calendar (.ics: whole-day events with the summary `USER: KIND`; with --user-id the kind). A repeated import of a
    file of the same name applies only differences, including leaves that were moved or canceled.

    A table is imported completely, or each bad row is reported and none is imported. Unreadable events of a calendar
    are reported with their line and skipped, and the exit code is 1.

    \b
    Example:  zk-pipeline leave import leave.csv
    """
    context = open_context()
    options = ImportOptions(operator_name(), context.settings.history_start, user_id, site)
    done = import_leave_file(context.store, file, options)
    note_unknown_users(context.store, [one.user_id for one in done.added])
    return print_import(done, file, as_json=as_json)


@leave.command("list")
@click.option("--user-id", help="Only this user.")
@click.option("--site", type=SITE, help="Only leaves that apply at this site.")
@click.option("--start-date", "first", type=WORK_DATE, help="Only leaves with a date from here on.")
@click.option("--end-date", "last", type=WORK_DATE, help="Only leaves with a date up to here.")
@click.option("--removed", is_flag=True, help="Removed leaves instead of the active ones.")
@wide_option
@as_json
def list_(
    *, user_id: str | None, site: str | None, first: date | None, last: date | None, removed: bool, as_json: bool
) -> None:
    """List leaves, the latest first.

    \b
    Example:  zk-pipeline leave list --user-id 1001
    """
    wanted = LeaveFilter(user_id=user_id, site=site, first=first, last=last, removed=removed)
    _, found = open_context().store.leaves.page(wanted)
    none = "no leaves; import some with `zk-pipeline leave import FILE`"
    shown = [*_SHOWN, "removed_by"] if removed else _SHOWN
    print_rows([asdict(one) for one in found], shown, as_json=as_json, none=none)


@leave.command("remove")
@click.argument("leave_id", metavar="ID", type=int)
def remove(leave_id: int) -> None:
    """Remove the leave ID; `leave list --removed` still shows it.

    \b
    Example:  zk-pipeline leave remove 1
    """
    removed = open_context().store.leaves.remove(leave_id, operator_name())
    click.echo(f"removed {leave_id}: {removed.user_id}, {removed.sentence}")
