"""`zk-pipeline punch …`: manual punches."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.attendance.operators import note_unknown_users, operator_name
from zk_pipeline.cli.context import SITE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_rows, wide_option
from zk_pipeline.operations.files.punch_file import apply_punch_file, parse_wall_clock
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.queries.explanations import PUNCH_STATES
from zk_pipeline.store.work_dates.manual_punches import STATES, ManualPunch, PunchRequest
from zk_pipeline.time_text import wall_clock

_HINT = "the next `zk-pipeline process` computes its day again"


@click.group()
def punch() -> None:
    """Manual punches: requests for punches that no terminal recorded, and decisions."""


@punch.command("request")
@click.option("--user-id", required=True, help="The user.")
@click.option("--site", type=SITE, required=True, help="The site.")
@click.option("--at", required=True, metavar='"YYYY-MM-DD HH:MM"', help="Time on the wall clock of the site.")
@click.option("--state", type=click.Choice(list(STATES)), required=True, help="Clock-in or clock-out.")
@click.option("--reason", required=True, help="Reason of the request.")
@as_json
def request(*, user_id: str, site: str, at: str, state: str, reason: str, as_json: bool) -> None:
    """Request a punch that no terminal recorded. It is part of a day after `punch approve`; prints the request's id.

    \b
    Example:  zk-pipeline punch request --user-id 1001 --site "Head office" --at "2026-11-02 17:30" --state out
              --reason "terminal without power"
    """
    wanted = PunchRequest(user_id.strip(), site, parse_wall_clock(at), state, reason.strip())
    context = open_context()
    store = context.store
    refuse_name(store, wanted.user_id)
    (made,) = store.manual_punches.request([wanted], operator_name(), history_start=context.settings.history_start)
    note_unknown_users(store, [made.user_id])
    if as_json:
        print_json(made)
    else:
        click.echo(made.id)
        note(f"it waits for a decision:  zk-pipeline punch approve {made.id}")


@punch.command("approve")
@click.argument("punch_id", metavar="ID", type=int)
@as_json
def approve(punch_id: int, as_json: bool) -> None:
    """Approve the request ID: its punch counts, and its work date becomes stale.

    \b
    Example:  zk-pipeline punch approve 1
    """
    (done,) = open_context().store.manual_punches.decide([punch_id], "approved", operator_name())
    _print_decision(done, as_json=as_json)
    note(_HINT)


@punch.command("reject")
@click.argument("punch_id", metavar="ID", type=int)
@click.option("--reason", required=True, help="Reason of the rejection.")
@as_json
def reject(punch_id: int, reason: str, as_json: bool) -> None:
    """Reject the request ID; it stays listed with the reason.

    \b
    Example:  zk-pipeline punch reject 1 --reason "on leave on that day"
    """
    (done,) = open_context().store.manual_punches.decide([punch_id], "rejected", operator_name(), reason=reason)
    _print_decision(done, as_json=as_json)


@punch.command("withdraw")
@click.argument("punch_id", metavar="ID", type=int)
@click.option("--reason", required=True, help="Reason of the withdrawal.")
@as_json
def withdraw(punch_id: int, reason: str, as_json: bool) -> None:
    """Withdraw the approved punch ID: it counts no more, and its work date becomes stale. It stays listed with the
    reason, and may be requested again.

    \b
    Example:  zk-pipeline punch withdraw 1 --reason "wrong user"
    """
    (done,) = open_context().store.manual_punches.withdraw([punch_id], operator_name(), reason)
    _print_decision(done, as_json=as_json)
    note(_HINT)


@punch.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only requests that wait for a decision.")
@wide_option
@as_json
def list_(only_open: bool, as_json: bool) -> None:
    """List requests and decisions.

    \b
    Example:  zk-pipeline punch list --open
    """
    found = open_context().store.manual_punches.all()
    rows = [
        asdict(one) | {"state": PUNCH_STATES[one.punch_state], "at": wall_clock(one.punched_at_local, "minutes")}
        for one in found
        if not only_open or one.decision is None
    ]
    columns = ["id", "site", "user_id", "at", "state", "reason", "requested_by", "decision", "decided_by"]
    none = "no requests; make one with `zk-pipeline punch request`"
    columns += ["decision_reason", "withdrawn_by", "withdrawal_reason"]
    print_rows(rows, columns, as_json=as_json, none=none, keep={"decision"})


@punch.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def apply(file: Path, as_json: bool) -> None:
    """Add the punches of a table (.csv, .xlsx: user_id,site,at,state,reason), such as after an outage: all or none.
    They are approved at once.

    \b
    Example:  zk-pipeline punch apply punches.csv
    """
    context = open_context()
    store = context.store
    made = apply_punch_file(store, file, operator_name(), history_start=context.settings.history_start)
    note_unknown_users(store, [one.user_id for one in made])
    if as_json:
        print_json(made)
    else:
        click.echo(f"approved: {len(made)}")
        note(_HINT)


def _print_decision(one: ManualPunch, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
    else:
        at = f"{one.user_id} {PUNCH_STATES[one.punch_state]} at {wall_clock(one.punched_at_local, 'minutes')}"
        click.echo(f"{one.decision} {one.id}: {at}, {one.site}")
