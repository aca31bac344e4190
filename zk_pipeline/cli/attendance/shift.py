"""`zk-pipeline shift …`: shifts and their assignments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import click

from zk_pipeline.attendance.assignment_changes import AssignmentChanges
from zk_pipeline.attendance.hours import wall_time, weekdays_of
from zk_pipeline.attendance.rotations import Rotation
from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import BOUNDS, THRESHOLDS, WEEKDAYS, Assignment, Season, Shift, Target
from zk_pipeline.cli.attendance.operators import note_unknown_users
from zk_pipeline.cli.context import DEVICE, SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_rows, print_table, wide_option
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.assignment_file import assign_from_table
from zk_pipeline.operations.files.shift_file import read_shift_file
from zk_pipeline.operations.files.table_reader import read_content

_THRESHOLDS = (
    "Minutes after the start up to which a clock-in is not late.",
    "Minutes before the end from which a clock-out is not early.",
    "Fewer worked minutes are half a day.",
    "Fewer worked minutes are an absence.",
)
_ASSIGNMENT_COLUMNS = ["id", "shift", "user", "site", "device", "valid_from", "valid_to"]
_SEASON_COLUMNS = ["id", "shift", "use", "valid_from", "valid_to"]
_HINT = "the next `zk-pipeline process` computes the affected days again"


@click.group()
def shift() -> None:
    """Shifts besides the hours of the settings, and their assignments."""


def _hours(*, defaults: bool) -> Callable[[Any], Any]:
    """Add the options that `add` and `update` share, with or without their defaults; None means not given."""

    def default(text: str) -> str:
        return f"  [default: {text}]" if defaults else ""

    options = [
        click.option("--start", help="Time of day, such as 09:00."),
        click.option("--end", help="Time of day; before the start: overnight; equal: 24 hours."),
        click.option(
            "--weekdays",
            "--days",
            help="Such as mon-fri or mon,wed; other weekdays are days off. `none`: an off shift; `country:SA`: all but "
            f"the weekend of a country, by its ISO code.{default('all')}",
        ),
        click.option(
            "--workday-starts-at",
            help=f"Time of day at which its work dates begin.{default('see docs/attendance.md')}",
        ),
        *(
            click.option(
                f"--{bound.replace('_', '-')}",
                type=click.FloatRange(0, 24),
                help=f"Limit of the outlier rule, in hours.{default('as in the settings')}",
            )
            for bound in BOUNDS
        ),
        *(
            click.option(f"--{name.replace('_', '-')}", type=click.IntRange(0, 1440), help=f"{text}{default('0')}")
            for name, text in zip(THRESHOLDS, _THRESHOLDS, strict=True)
        ),
        *(
            click.option(f"--{name.replace('_', '-')}", metavar="RULES", help=f"{text}.{default('none')}")
            for name, (_, text) in RULE_TEXTS.items()
        ),
    ]

    def add_options(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add_options


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """The given options, validated. Raises UsageError."""
    checks = {"start": wall_time, "end": wall_time, "workday_starts_at": wall_time, "weekdays": weekdays_of}
    values = {}
    for name, value in options.items():
        if value is not None:
            try:
                values[name] = checks[name](value) if name in checks else value
            except ValueError as error:
                raise UsageError(f"--{name.replace('_', '-')} {value}: {error}") from None
    return values


@shift.command("add")
@click.argument("name")
@_hours(defaults=True)
def add(name: str, **options: Any) -> None:
    """Create the shift NAME. An off shift (--days none) needs no hours: with it, every date is a day off.

    \b
    Example:  zk-pipeline shift add night --start 22:00 --end 06:00 --weekdays mon-fri
    """
    open_context().store.shifts.add(Shift.of(name, _checked(options)))
    click.echo(f"added {name}")
    note(f"it is not assigned yet:  zk-pipeline shift assign {name!r} --site SITE")


@shift.command("update")
@click.argument("name")
@_hours(defaults=False)
def update(name: str, **options: Any) -> None:
    """Change the shift NAME; omitted options keep their values. The next processing computes its days again.

    \b
    Example:  zk-pipeline shift update night --late-clock-in-hours 0.5
    """
    shifts = open_context().store.shifts
    held = asdict(shifts.get(name))
    if not held["weekdays"] and held["start"] == held["end"]:  # an off shift without hours
        held |= {"start": None, "end": None}
    shifts.update(Shift.of(held.pop("name"), held | _checked(options)))
    click.echo(f"updated {name}")
    note(_HINT)


@shift.command("list")
@wide_option
@as_json
def list_(as_json: bool) -> None:
    """List shifts, their assignments and seasons.

    \b
    Example:  zk-pipeline shift list --json
    """
    shifts = open_context().store.shifts
    shift_list, assignments = shifts.all(), [_row(one) for one in shifts.assignments()]
    seasons = [asdict(one) for one in shifts.seasons()]
    if as_json:
        print_json({"shifts": [asdict(one) for one in shift_list], "assignments": assignments, "seasons": seasons})
        return
    if not shift_list:
        click.echo("no shifts: all employees have the hours of the settings; add one with `zk-pipeline shift add`")
        return
    print_table(
        [_shift_row(one) for one in shift_list],
        ["name", "start", "end", "weekdays", "workday_starts_at", *BOUNDS, *THRESHOLDS, *_rules(shift_list)],
    )
    if assignments:
        click.echo()
        print_table(assignments, _ASSIGNMENT_COLUMNS)
    if seasons:
        click.echo()
        print_table(seasons, _SEASON_COLUMNS)


def _target(command: Any) -> Any:
    """Add the options of the target of an assignment."""
    for option in (
        click.option("--device", type=DEVICE, help="Assign to all users who clock in at this device."),
        click.option("--site", type=SITE, help="Assign to all users of this site."),
        click.option("--user", help="Assign to this user; with --site only there."),
    ):
        command = option(command)
    return command


_replace = click.option(
    "--replace", "replace_overlaps", is_flag=True, help="Replace the target's other assignments on these work dates."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Print the changes only.")


@shift.command("assign")
@click.argument("name")
@_target
@click.option("--from", "valid_from", type=WORK_DATE, help="First work date.  [default: no start]")
@click.option("--to", "valid_to", type=WORK_DATE, help="Last work date.  [default: no end]")
@as_json
def assign(
    name: str,
    *,
    user: str | None,
    site: str | None,
    device: str | None,
    valid_from: date | None,
    valid_to: date | None,
    as_json: bool,
) -> None:
    """Assign the shift NAME to a user, a device or a site. A user's own shift takes precedence over that of the device,
    which takes precedence over that of the site.

    \b
    Example:  zk-pipeline shift assign night --user EMP001 --from 2026-01-01 --to 2026-06-30
    """
    wanted = Assignment(
        shift=name,
        target=Target(user_id=user, site=site, device=device),
        valid_from=valid_from,
        valid_to=valid_to,
    )
    store = open_context().store
    made = store.shifts.assign(wanted)
    note_unknown_users(store, _users([made]))
    if as_json:
        print_json(_row(made))
    else:
        click.echo(f"assignment {made.id}: {name} for {made.target} from {made.span}")
        note(_HINT)


@shift.command("rotate")
@click.option("--pattern", required=True, help="Shifts with their number of dates, repeated: 'early*2 late*2 off*2'.")
@_target
@click.option("--from", "valid_from", type=WORK_DATE, required=True, help="First work date.")
@click.option("--to", "valid_to", type=WORK_DATE, required=True, help="Last work date.")
@click.option("--start-at", type=int, default=1, help="Date of the pattern with which it starts.  [default: 1]")
@_replace
@_dry_run
@wide_option
@as_json
def rotate(
    *,
    pattern: str,
    user: str | None,
    site: str | None,
    device: str | None,
    valid_from: date,
    valid_to: date,
    start_at: int,
    replace_overlaps: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Assign a rotating pattern of shifts: one assignment for each span of dates with one shift, all or none. The same
    rotation again changes nothing; other assignments of the target on these dates are refused without --replace.

    \b
    Example:  zk-pipeline shift rotate --pattern "early*2 late*2 night*2 off*2" --user EMP001
              --from 2026-01-01 --to 2026-12-31
    """
    rotation = Rotation(
        pattern=pattern,
        target=Target(user_id=user, site=site, device=device),
        valid_from=valid_from,
        valid_to=valid_to,
        start_at=start_at,
    )
    store = open_context().store
    changes = store.shifts.assign_all(rotation.expand(), replace_overlaps=replace_overlaps, dry_run=dry_run)
    note_unknown_users(store, _users(changes.added))
    _print_changes(changes, dry_run=dry_run, as_json=as_json)


@shift.command("assign-file")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_replace
@_dry_run
@wide_option
@as_json
def assign_file(file: Path, replace_overlaps: bool, dry_run: bool, as_json: bool) -> None:
    """Assign the shifts of a table (.csv, .xlsx) with the columns user_id, site, device, shift, from, to: all or none.
    Bad lines are named. The same table again changes nothing.

    \b
    Example:  zk-pipeline shift assign-file assignments.csv --dry-run
    """
    store = open_context().store
    changes = assign_from_table(store, file, read_content(file), replace_overlaps=replace_overlaps, dry_run=dry_run)
    note_unknown_users(store, _users(changes.added))
    _print_changes(changes, dry_run=dry_run, as_json=as_json)


def _print_changes(changes: AssignmentChanges, *, dry_run: bool, as_json: bool) -> None:
    added, removed = ([_row(one) for one in some] for some in (changes.added, changes.removed))
    if as_json:
        print_json({"added": added, "removed": removed, "unchanged": len(changes.unchanged)})
        return
    rows = [{"change": what} | row for what, some in (("removed", removed), ("added", added)) for row in some]
    if rows:
        print_table(rows, ["change", *_ASSIGNMENT_COLUMNS])
    counts = f"added: {len(added)}, removed: {len(removed)}, unchanged: {len(changes.unchanged)}"
    click.echo(f"dry run, nothing is stored; {counts}" if dry_run else counts)
    if rows and not dry_run:
        note(_HINT)


@shift.group("season")
def season() -> None:
    """Seasons: another shift in place of a shift between two dates, wherever it is assigned, such as Ramadan hours."""


@season.command("add")
@click.argument("name", metavar="SHIFT")
@click.option("--use", required=True, help="Shift that applies in its place.")
@click.option("--from", "valid_from", type=WORK_DATE, required=True, help="First work date.")
@click.option("--to", "valid_to", type=WORK_DATE, required=True, help="Last work date.")
@as_json
def add_season(name: str, use: str, valid_from: date, valid_to: date, as_json: bool) -> None:
    """Use another shift in place of SHIFT from one date to another, wherever SHIFT is assigned.

    \b
    Example:  zk-pipeline shift season add office --use ramadan --from 2026-02-18 --to 2026-03-19
    """
    made = open_context().store.shifts.add_season(Season(shift=name, use=use, valid_from=valid_from, valid_to=valid_to))
    if as_json:
        print_json(made)
    else:
        click.echo(f"season {made.id}: {made}")
        note(_HINT)


@season.command("list")
@wide_option
@as_json
def list_seasons(as_json: bool) -> None:
    """List all seasons.

    \b
    Example:  zk-pipeline shift season list
    """
    rows = [asdict(one) for one in open_context().store.shifts.seasons()]
    print_rows(rows, _SEASON_COLUMNS, as_json=as_json, none="no seasons; add one with `zk-pipeline shift season add`")


@season.command("remove")
@click.argument("season_id", metavar="ID", type=int)
def remove_season(season_id: int) -> None:
    """Remove the season with ID from `shift season list`.

    \b
    Example:  zk-pipeline shift season remove 1
    """
    click.echo(f"removed: {open_context().store.shifts.remove_season(season_id)}")
    note(_HINT)


@shift.command("unassign")
@click.argument("assignment_id", metavar="ID", type=int)
def unassign(assignment_id: int) -> None:
    """Remove the assignment with ID from `shift list`.

    \b
    Example:  zk-pipeline shift unassign 3
    """
    removed = open_context().store.shifts.unassign(assignment_id)
    click.echo(f"{removed.target} no longer has {removed.shift} from {removed.span}")
    note(_HINT)


@shift.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove the shift NAME; refused if it has assignments.

    \b
    Example:  zk-pipeline shift remove night
    """
    open_context().store.shifts.remove(name)
    click.echo(f"removed {name}")


@shift.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--prune",
    is_flag=True,
    help="Also remove shifts, assignments, seasons and holidays that the file does not contain.",
)
@as_json
def apply(file: Path, prune: bool, as_json: bool) -> None:
    """Create, change and remove shifts, assignments, seasons and holidays as a YAML file declares them. Targets in the
    file get exactly its assignments, shifts its seasons; others are not changed. Idempotent.

    \b
    shifts:
      - {name: night, start: "22:00", end: "06:00"}
    assignments:
      - {shift: night, user: EMP001, valid_from: 2026-01-01}
      - {rotation: night*4 off*2, user: EMP002, valid_from: 2026-01-01, valid_to: 2026-12-31}
    holidays:
      - {date: 2026-05-01, name: Labour Day}

    \b
    Example:  zk-pipeline shift apply shifts.yaml
    """
    plan = read_shift_file(file)
    store = open_context().store
    try:
        applied = store.apply_shifts(plan, prune=prune)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    note_unknown_users(store, _users(plan.assignments))
    if as_json:
        print_json(applied)
        return
    for what in ("added", "changed", "removed"):
        for change in getattr(applied, what):
            click.echo(f"{what}: {change}")
    click.echo(f"unchanged: {applied.unchanged}")


def _users(assignments: Iterable[Assignment]) -> list[str]:
    """User ids of the assignments to users."""
    return [one.target.user_id for one in assignments if one.target.user_id is not None]


def _rules(shifts: list[Shift]) -> list[str]:
    """Names of the rules that a shift has."""
    return [name for name in RULE_TEXTS if any(getattr(one, name) for one in shifts)]


def _shift_row(one: Shift) -> dict[str, object]:
    times = {name: f"{at:%H:%M}" for name in ("start", "end", "workday_starts_at") if (at := getattr(one, name))}
    days = "all" if one.weekdays == WEEKDAYS else " ".join(one.weekdays) or "none"
    return asdict(one) | {"workday_starts_at": None} | times | {"weekdays": days}


def _row(one: Assignment) -> dict[str, object]:
    target = {"user": one.target.user_id, "site": one.target.site, "device": one.target.device}
    return {"id": one.id, "shift": one.shift, **target, "valid_from": one.valid_from, "valid_to": one.valid_to}
