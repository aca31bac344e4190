"""`zk-pipeline device correct-clock`: declare corrections for times that a terminal recorded with a wrong clock."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import as_json, print_rows, wide_option
from zk_pipeline.errors import UsageError

_READING = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
_COLUMNS = [
    "id",
    "device",
    "from_local",
    "to_local",
    "add_seconds",
    "only_in_doubt",
    "punches",
    "reason",
    "created_at",
    "revoked_at",
]


@click.command("correct-clock")
@click.argument("name", required=False, type=DEVICE)
@click.option("--from", "from_local", type=_READING, help="First wrong time, as the terminal recorded it.")
@click.option("--to", "to_local", type=_READING, help="Last wrong time, as the terminal recorded it.")
@click.option("--add-seconds", type=int, help="Seconds to add to each recorded time (negative if the clock was fast).")
@click.option("--only-in-doubt", is_flag=True, help="Correct only punches that are marked as clock suspects.")
@click.option("--reason", default="", help="Reason, stored with the correction.")
@click.option("--revoke", "correction_id", type=int, help="Revoke the correction with this id.")
@wide_option
@as_json
def correct_clock(
    name: str | None,
    *,
    from_local: datetime | None,
    to_local: datetime | None,
    add_seconds: int | None,
    only_in_doubt: bool,
    reason: str,
    correction_id: int | None,
    as_json: bool,
) -> None:
    """Correct times that NAME recorded while its clock was wrong. Without options: list all corrections. Recorded times
    are kept; days are computed from the corrected ones. A correction also applies to punches that are read later.
    `zk-pipeline doctor` suggests the correction for punches that were recorded while the clock was measured wrong.

    \b
    Example:  zk-pipeline device correct-clock "Back Gate" --from 2000-01-01 --to 2000-01-03 --add-seconds 846720000
    """
    corrections = open_context().store.clock_corrections
    given = (from_local, to_local, add_seconds)
    if correction_id is not None:
        if name is not None or given != (None, None, None):
            raise UsageError("--revoke allows no other option than the id of a correction")
        done = [corrections.revoke(correction_id)]
    elif given == (None, None, None):
        done = [one for one in corrections.all() if name in (None, one.device)]
    elif name is None or from_local is None or to_local is None or add_seconds is None:
        raise UsageError("a correction needs NAME, --from, --to and --add-seconds")
    else:
        done = [
            corrections.add(
                name,
                from_local=from_local,
                to_local=to_local,
                add_seconds=add_seconds,
                reason=reason,
                only_in_doubt=only_in_doubt,
            )
        ]
    rows = [asdict(one) for one in done]
    print_rows(
        rows,
        _COLUMNS,
        as_json=as_json,
        none="no clock correction; `zk-pipeline doctor` suggests one where it is needed",
    )
