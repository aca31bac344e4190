"""`zk-pipeline shift …`: working hours with a name, and who has them."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import click

from zk_pipeline.attendance.hours import wall_time, weekdays_of
from zk_pipeline.attendance.shifts import BOUNDS, WEEKDAYS, Assignment, Shift, Target
from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.shift_file import read_shift_file

_HINT = "the days that this touches are made again by the next `zk-pipeline process`"


@click.group()
def shift() -> None:
    """Working hours beside those of the settings, and who has them."""


def _hours(command: Any) -> Any:
    """The options that `add` and `update` share; None means not given."""
    options = [
        click.option("--start", help="Time of day, such as 09:00."),
        click.option("--end", help="Time of day; before the start: overnight."),
        click.option("--weekdays", help="Such as mon-fri or mon,wed; the others are days off.  [default: all]"),
        click.option("--workday-starts-at", help="Where its work dates begin.  [default: see docs/attendance.md]"),
        *(
            click.option(f"--{bound.replace('_', '-')}", type=click.FloatRange(0, 24), help="[default: the settings']")
            for bound in BOUNDS
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """Only what was given, each value checked. Raises UsageError."""
    checks = {"start": wall_time, "end": wall_time, "workday_starts_at": wall_time, "weekdays": weekdays_of}
    values = {}
    for name, value in given.items():
        if value is not None:
            try:
                values[name] = checks[name](value) if name in checks else value
            except ValueError as error:
                raise UsageError(f"--{name.replace('_', '-')} {value}: {error}") from None
    return values


@shift.command("add")
@click.argument("name")
@_hours
def add(name: str, **given: Any) -> None:
    """Make the shift NAME.

    \b
    Example:  zk-pipeline shift add night --start 22:00 --end 06:00 --weekdays mon-fri
    """
    values = _checked(given)
    if not {"start", "end"} <= set(values):
        raise UsageError("a shift needs --start and --end")
    open_context().store.shifts.add(Shift(name=name, **values))
    click.echo(f"added {name}")
    note(f"nobody has it yet:  zk-pipeline shift assign {name!r} --site SITE")


@shift.command("update")
@click.argument("name")
@_hours
def update(name: str, **given: Any) -> None:
    """Change the shift NAME; what is not given stays. Days judged by it are made again.

    \b
    Example:  zk-pipeline shift update night --late-clock-in-hours 0.5
    """
    shifts = open_context().store.shifts
    shifts.update(replace(shifts.get(name), **_checked(given)))
    click.echo(f"updated {name}")
    note(_HINT)


@shift.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List shifts, and who has which when.

    \b
    Example:  zk-pipeline shift list --json
    """
    shifts = open_context().store.shifts
    held, assignments = shifts.all(), [_row(one) for one in shifts.assignments()]
    if as_json:
        print_json({"shifts": [asdict(one) for one in held], "assignments": assignments})
        return
    if not held:
        note("there are no shifts: everybody has the hours of the settings")
        return
    print_table([_shift_row(one) for one in held], ["name", "start", "end", "weekdays", "workday_starts_at", *BOUNDS])
    if assignments:
        click.echo()
        print_table(assignments, ["id", "shift", "user", "site", "device", "valid_from", "valid_to"])


@shift.command("assign")
@click.argument("name")
@click.option("--user", help="This person; with --site: there only.")
@click.option("--site", help="Everybody at this site.")
@click.option("--device", help="Everybody who clocks in at this terminal.")
@click.option("--from", "valid_from", type=WORK_DATE, help="First work date.  [default: ever since]")
@click.option("--to", "valid_to", type=WORK_DATE, help="Last work date.  [default: for ever]")
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
    """Give the shift NAME to a person, a terminal or a site. A person's own shift goes before a terminal's, that
    before the site's.

    \b
    Example:  zk-pipeline shift assign night --user EMP001 --from 2026-01-01 --to 2026-06-30
    """
    wanted = Assignment(
        shift=name,
        target=Target(user_id=user, site=site, device=device),
        valid_from=valid_from,
        valid_to=valid_to,
    )
    made = open_context().store.shifts.assign(wanted)
    if as_json:
        print_json(_row(made))
    else:
        click.echo(f"assignment {made.id}: {name} for {made.target} from {made.span}")
        note(_HINT)


@shift.command("unassign")
@click.argument("assignment_id", metavar="ID", type=int)
def unassign(assignment_id: int) -> None:
    """Take back the assignment ID, as `shift list` shows it.

    \b
    Example:  zk-pipeline shift unassign 3
    """
    gone = open_context().store.shifts.unassign(assignment_id)
    click.echo(f"{gone.target} no longer has {gone.shift} from {gone.span}")
    note(_HINT)


@shift.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove the shift NAME; refused while anybody has it, at whatever time.

    \b
    Example:  zk-pipeline shift remove night
    """
    open_context().store.shifts.remove(name)
    click.echo(f"removed {name}")


@shift.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Also remove shifts, assignments and holidays that the file leaves out.")
@as_json
def apply(file: Path, prune: bool, as_json: bool) -> None:
    """Make shifts, assignments and holidays as a YAML file declares them. The targets it names have exactly the
    assignments it gives them; others are left alone. Running it twice changes nothing.

    \b
    shifts:
      - {name: night, start: "22:00", end: "06:00"}
    assignments:
      - {shift: night, user: EMP001, valid_from: 2026-01-01}
    holidays:
      - {date: 2026-05-01, name: Labour Day}

    \b
    Example:  zk-pipeline shift apply shifts.yaml
    """
    plan = read_shift_file(file)
    try:
        applied = open_context().store.apply_shifts(plan, prune=prune)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    if as_json:
        print_json(applied)
        return
    for what in ("added", "changed", "removed"):
        for words in getattr(applied, what):
            click.echo(f"{what}: {words}")
    click.echo(f"unchanged: {applied.unchanged}")


def _shift_row(one: Shift) -> dict[str, object]:
    times = {name: f"{at:%H:%M}" for name in ("start", "end", "workday_starts_at") if (at := getattr(one, name))}
    days = "all" if one.weekdays == WEEKDAYS else " ".join(one.weekdays)
    return asdict(one) | {"workday_starts_at": None} | times | {"weekdays": days}


def _row(one: Assignment) -> dict[str, object]:
    target = {"user": one.target.user_id, "site": one.target.site, "device": one.target.device}
    return {"id": one.id, "shift": one.shift, **target, "valid_from": one.valid_from, "valid_to": one.valid_to}
