"""`zk-pipeline import …`: punches from files, and the history of the Django bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_pairs, print_table, wide_option, working
from zk_pipeline.counted import counted
from zk_pipeline.devices.usb_log import ORDERS, Order
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.bridge.history import BridgeImport, BridgeOptions, apply_bridge, plan_bridge
from zk_pipeline.operations.files.punch_columns import parse_columns
from zk_pipeline.operations.files.punch_import import (
    PUNCH_FORMATS,
    ImportOptions,
    PunchFormat,
    PunchImport,
    apply_import,
    check_plan,
    plan_import,
)

_DRY_RUN = click.option("--dry-run", is_flag=True, help="Print what an import would store, and store nothing.")
_AS_FIRST = "{:,}: stored as its first occurrence"
_EARLY = "{:,}: processed only after an earlier ZK_PIPELINE_HISTORY_START ({}) is set"
_NEXT = "`zk-pipeline process` computes the days of these punches; the running daemon does so by itself"


@click.group("import")
def import_() -> None:
    """Import punches from files, and the history of the Django bridge."""


@import_.command("punches")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--device", required=True, type=DEVICE, metavar="NAME", help="The terminal that recorded them.")
@click.option("--format", "kind", type=click.Choice(PUNCH_FORMATS), help="Format of the file.  [default: detected]")
@click.option("--order", type=click.Choice(ORDERS), help="Columns of a USB log after the time.  [default: detected]")
@click.option("--columns", metavar="FIELD=COLUMN,…", help="Columns of another program's table, kept for the next file.")
@click.option(
    "--time-format", metavar="FORMAT", help='Form of the times in a table, such as "%d/%m/%Y %H:%M"; not kept.'
)
@click.option("--skip-unreadable", is_flag=True, help="Store the other lines, and these in quarantine.")
@_DRY_RUN
@as_json
def punches(
    *,
    file: Path,
    device: str,
    kind: PunchFormat | None,
    order: Order | None,
    columns: str | None,
    time_format: str | None,
    skip_unreadable: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import the punches of FILE: the log from a USB stick (attlog.dat), lines as terminals push them, a table (.csv,
    .xlsx, .parquet), or an export of raw punches. All of them or none; a repeated import changes nothing.

    Times are wall clocks of the terminal; times of a table with an offset from UTC are converted.

    \b
    Example:  zk-pipeline import punches 1_attlog.dat --device "Main Office" --dry-run
    """
    context = open_context()
    options = ImportOptions(
        format=kind,
        order=order,
        columns=None if columns is None else parse_columns(columns),
        time_format=time_format,
        skip_unreadable=skip_unreadable,
        history_start=context.settings.history_start,
    )
    store = context.store
    with working(f"reading {file.name}"):
        plan = plan_import(store, file, device, options)
    if dry_run or (plan.summary.unreadable and not skip_unreadable):
        _print_import(plan.summary, as_json=as_json)
        check_plan(plan, options)
    if not dry_run:
        check_plan(plan, options)
        with working("storing punches"):
            done = apply_import(store, plan)
        _print_import(done, as_json=as_json)
        note(_NEXT)


def _print_import(done: PunchImport, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    pairs: dict[str, object] = {
        "file": done.file,
        "device": f"{done.device} (site {done.site})",
        "format": done.detected,
        "punches": f"{done.punches:,} in {counted(done.read, 'record')}",
        "first": done.first,
        "last": done.last,
        "stored now" if done.is_stored else "new": f"{done.new:,}",
        "stored before": f"{done.known:,}",
    }
    special = {
        "repeated lines": done.repeated,
        "deleted by retention": done.purged,
        "implausible times": done.suspect,
        "rows of other devices": sum(done.left_out.values()),
        "unreadable lines": len(done.unreadable),
        "in quarantine": done.quarantined,
    }
    pairs |= {name: f"{count:,}" for name, count in special.items() if count}
    if done.before_history:
        pairs["before the history"] = _EARLY.format(done.before_history, done.history_start)
    if done.in_repeated_hour:
        pairs["in a repeated hour"] = _AS_FIRST.format(done.in_repeated_hour)
    if done.unknown_users:
        pairs["users not enrolled"] = f"{len(done.unknown_users):,}: {done.unknown_users_text()}"
    if not done.is_stored:
        pairs["stored"] = "nothing (dry run)" if not done.unreadable else "nothing"
    print_pairs(pairs)


@import_.command("django-bridge")
@click.argument("dsn")
@click.option(
    "--timezone", metavar="TZ", help="Zone of the terminals, for a bridge of before January 2026 (no zone per device)."
)
@click.option("--rename", "names", multiple=True, metavar="OLD=NEW", help="Name here of a device of the bridge.")
@click.option("--skip-unreadable", is_flag=True, help="Import the other rows, and list these.")
@_DRY_RUN
@wide_option
@as_json
def django_bridge(
    *, dsn: str, timezone: str | None, names: tuple[str, ...], skip_unreadable: bool, dry_run: bool, as_json: bool
) -> None:
    """Import the history of the Django bridge: its devices, punches and users, and the days that it delivered, so that
    the CRM does not get them again. A repeated import applies only differences.

    DSN is the path of its db.sqlite3, or the address of its PostgreSQL database (postgresql://…); give the password in
    PGPASSWORD or ~/.pgpass. The database is only read. Stop the bridge first.

    \b
    Example:  zk-pipeline import django-bridge db.sqlite3 --dry-run
    """
    context = open_context()
    store = context.store
    options = BridgeOptions(
        timezone=timezone,
        names=_names(names),
        skip_unreadable=skip_unreadable,
        history_start=context.settings.history_start,
        networks=context.settings.device_networks,
    )
    plan = plan_bridge(store, dsn, options)
    done = plan.summary if dry_run else apply_bridge(store, plan)
    if as_json:
        print_json(done)
        return
    _print_bridge(done, context.settings.history_start)
    if not dry_run:
        note(_NEXT)


def _names(given: Sequence[str]) -> dict[str, str]:
    """New names by old ones. Raises UsageError."""
    pairs = {old: new for old, _, new in (one.partition("=") for one in given)}
    if wrong := next((one for one in given if not all(one.partition("="))), None):
        raise UsageError(f'--rename: {wrong!r} has no two names: give it as "OLD=NEW"')
    return pairs


def _print_bridge(done: BridgeImport, history_start: date) -> None:
    columns = ["name", "registered", "timezone", "punches", "new", "known", "users", "first", "last"]
    is_done = "now" if done.is_stored else "new"
    print_table([asdict(one) | {"registered": is_done if one.is_new else "before"} for one in done.devices], columns)
    pairs: dict[str, object] = {
        "delivered days": f"{done.delivered:,}",
        "changed since then": f"{done.outdated:,} (sent as an update)",
        "content unknown": f"{done.uncertain:,} (sent again)",
        "not delivered": f"{done.undelivered:,} (sent)",
    }
    if repeated := sum(one.in_repeated_hour for one in done.devices):
        pairs["in a repeated hour"] = _AS_FIRST.format(repeated)
    if early := sum(one.before_history for one in done.devices):
        pairs["before the history"] = _EARLY.format(early, history_start)
    if done.unreadable:
        pairs["left out"] = "; ".join(done.unreadable)
    if done.settled:
        pairs["need no request now"] = f"{done.settled:,}"
    if not done.is_stored:
        pairs["stored"] = "nothing (dry run)"
    print_pairs(pairs)
