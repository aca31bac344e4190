"""`zk-pipeline shift …`: shifts and their assignments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import click

from zk_pipeline.attendance.hours import wall_time, weekdays_of
from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import BOUNDS, THRESHOLDS, WEEKDAYS, Assignment, Shift, Target
from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.shift_file import read_shift_file

_THRESHOLDS = (
    "Minutes after the start up to which a clock-in is not late.",
    "Minutes before the end from which a clock-out is not early.",
    "Fewer worked minutes are half a day.",
    "Fewer worked minutes are an absence.",
)
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
        click.option("--end", help="Time of day; before the start: overnight."),
        click.option("--weekdays", help=f"Such as mon-fri or mon,wed; other weekdays are days off.{default('all')}"),
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
    """Create the shift NAME.

    \b
    Example:  zk-pipeline shift add night --start 22:00 --end 06:00 --weekdays mon-fri
    """
    values = _checked(options)
    if not {"start", "end"} <= set(values):
        raise UsageError("a shift needs --start and --end")
    open_context().store.shifts.add(Shift(name=name, **values))
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
    shifts.update(replace(shifts.get(name), **_checked(options)))
    click.echo(f"updated {name}")
    note(_HINT)


@shift.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List shifts and their assignments.

    \b
    Example:  zk-pipeline shift list --json
    """
    shifts = open_context().store.shifts
    shift_list, assignments = shifts.all(), [_row(one) for one in shifts.assignments()]
    if as_json:
        print_json({"shifts": [asdict(one) for one in shift_list], "assignments": assignments})
        return
    if not shift_list:
        click.echo("no shifts: all employees have the hours of the settings")
        return
    print_table(
        [_shift_row(one) for one in shift_list],
        ["name", "start", "end", "weekdays", "workday_starts_at", *BOUNDS, *THRESHOLDS, *_rules(shift_list)],
    )
    if assignments:
        click.echo()
        print_table(assignments, ["id", "shift", "user", "site", "device", "valid_from", "valid_to"])


@shift.command("assign")
@click.argument("name")
@click.option("--user", help="Assign to this user; with --site only there.")
@click.option("--site", help="Assign to all users of this site.")
@click.option("--device", help="Assign to all users who clock in at this device.")
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
    made = open_context().store.shifts.assign(wanted)
    if as_json:
        print_json(_row(made))
    else:
        click.echo(f"assignment {made.id}: {name} for {made.target} from {made.span}")
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
    "--prune", is_flag=True, help="Also remove shifts, assignments and holidays that the file does not contain."
)
@as_json
def apply(file: Path, prune: bool, as_json: bool) -> None:
    """Create, change and remove shifts, assignments and holidays as a YAML file declares them. Targets in the file get
    exactly its assignments; other targets are not changed. Idempotent.

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
        for change in getattr(applied, what):
            click.echo(f"{what}: {change}")
    click.echo(f"unchanged: {applied.unchanged}")


def _rules(shifts: list[Shift]) -> list[str]:
    """Names of the rules that a shift has."""
    return [name for name in RULE_TEXTS if any(getattr(one, name) for one in shifts)]


def _shift_row(one: Shift) -> dict[str, object]:
    times = {name: f"{at:%H:%M}" for name in ("start", "end", "workday_starts_at") if (at := getattr(one, name))}
    days = "all" if one.weekdays == WEEKDAYS else " ".join(one.weekdays)
    return asdict(one) | {"workday_starts_at": None} | times | {"weekdays": days}


def _row(one: Assignment) -> dict[str, object]:
    target = {"user": one.target.user_id, "site": one.target.site, "device": one.target.device}
    return {"id": one.id, "shift": one.shift, **target, "valid_from": one.valid_from, "valid_to": one.valid_to}
