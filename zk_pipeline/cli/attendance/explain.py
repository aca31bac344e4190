"""`zk-pipeline explain`: punches, rules, revisions and deliveries of one attendance day."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import click

from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.attendance.rules import OutlierCode
from zk_pipeline.cli.context import SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, cell, print_json, print_pairs, print_table, wide_option
from zk_pipeline.errors import UsageError
from zk_pipeline.store.queries.explanations import PUNCH_STATES, Explanation, Revision
from zk_pipeline.store.shifts.leaves import Leave


class Instant(click.ParamType[datetime]):
    """An ISO 8601 date or instant; without an offset in ZK_PIPELINE_TIMEZONE."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            at = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
            zone = at.tzinfo or ZoneInfo(open_context().settings.timezone)
            return at.replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not an instant such as 2026-11-03T17:00", param, ctx)


@click.command()
@click.option("--user-id", required=True, help="The user.")
@click.option("--date", "day", type=WORK_DATE, required=True, help="The work date.")
@click.option("--site", type=SITE, help="Only at this site.")
@click.option(
    "--as-of",
    type=Instant(),
    help="State of the store at an instant such as 2026-11-03T17:00, in ZK_PIPELINE_TIMEZONE.  [default: now]",
)
@wide_option
@as_json
def explain(*, user_id: str, day: date, site: str | None, as_of: datetime | None, as_json: bool) -> None:
    """Punches, rules, revisions and deliveries of one attendance day. Each revision is listed with the hours that it
    was evaluated by, its run and its delivery. Records of the date that do not count are listed with the reason.

    \b
    Example:  zk-pipeline explain --user-id 1001 --date 2026-11-02
    """
    everywhere = open_context().store.explanations.explain(user_id, day, as_of=as_of)
    explanation = everywhere.at(site)
    punches, revisions = explanation.punches, explanation.revisions
    if explanation.is_empty:
        raise UsageError(_no_data(everywhere, site))
    if as_json:
        print_json(explanation)
        return
    for name in explanation.sites:
        at_site = [one for one in revisions if one.site == name]
        has_punches = any(one.site == name for one in punches)
        without = "not processed yet" if has_punches else "no punches that count"
        summary = _summary(at_site[-1]) if at_site else {"site": name, "attendance day": without}
        print_pairs(summary | _leave(explanation.leaves_at(name)))
        click.echo()
    if not explanation.sites:
        print_pairs({"attendance day": "no punches"} | _leave(explanation.leaves))
        return
    print_table(
        [
            asdict(one)
            | {
                "state": PUNCH_STATES.get(one.punch_state, one.punch_state),
                "direction": f"{one.punch_direction} ({one.direction_source})",
                "from": one.origin,
            }
            for one in punches
        ],
        ["site", "device", "punched_at_local", "state", "direction", "work_code", "from", "stored_at", "read_local"],
        keep={"punched_at_local", "state"},
    )
    for withdrawn in explanation.withdrawn:
        click.echo(f"\nwithdrawn: {withdrawn.withdrawal}")
    for left_out in explanation.left_out:
        click.echo(f"\nnot counted: {left_out.sentence}")
    click.echo()
    print_table(
        [_revision(one) for one in revisions],
        ["site", "revision", "made_at", "in", "out", "worked", "why", "run_id", "delivery", "delivered_at"],
        keep={"in", "out", "delivery"},
    )


def _leave(leaves: list[Leave]) -> dict[str, object]:
    """Leave of the user on the date; punches on it count all the same."""
    return {"leave": "; ".join(one.sentence for one in leaves)} if leaves else {}


def _no_data(everywhere: Explanation, site: str | None) -> str:
    """Message of a day without punches and revisions at `site` (None: all), with the sites that have some."""
    at_site = "" if site is None else f" at {site!r}"
    as_of = "" if everywhere.as_of is None else f" as of {cell(everywhere.as_of)}"
    hint = f"; there are some at: {', '.join(everywhere.sites)}" if everywhere.sites else ""
    return f"no punches or days of {everywhere.user_id!r}{at_site} on {everywhere.work_date}{as_of}{hint}"


def _summary(one: Revision) -> dict[str, object]:
    hours = one.judged_by or "hours of the settings"
    if one.judged_by is None and one.shift is not None:
        hours = f"{one.shift}, {one.shift_start:%H:%M}–{one.shift_end:%H:%M}"
    worked = {
        None: "first to last punch",
        "punch_states": "punch states",
        "alternation": "pairs of punches",
        "unmatched": "first to last: punches do not pair",
    }
    return {
        "site": one.site,
        "attendance day": "retracted" if one.is_retracted else f"revision {one.revision}",
        "in, out": f"{cell(one.clock_in_local)}, {cell(one.clock_out_local)}",
        "worked (minutes)": one.worked_minutes,
        "worked from": worked[one.worked_minutes_source],
        "break (minutes)": one.break_minutes and f"{one.break_minutes} ({one.break_source})",
        "overtime (minutes)": one.overtime_minutes and f"{one.overtime_minutes} ({one.overtime_class})",
        "night (minutes)": one.night_minutes or None,
        "hours": f"{hours}, {one.season}" if one.season else hours,
        "day off": one.day_off,
        "late (minutes)": one.late_minutes,
        "left early (minutes)": one.early_leave_minutes,
        "status": one.attendance_status
        and f"{one.attendance_status}: {AttendanceStatus[one.attendance_status.upper()].explanation}",
        "outlier": one.outlier_reason or None,
        "rules": "; ".join(f"{code}: {OutlierCode[code].explanation}" for code in one.outlier_codes) or None,
    }


def _revision(one: Revision) -> dict[str, object]:
    return asdict(one) | {
        "in": one.clock_in_local,
        "out": one.clock_out_local,
        "worked": one.worked_minutes,
        "why": "retracted" if one.is_retracted else one.outlier_reason or None,
    }
