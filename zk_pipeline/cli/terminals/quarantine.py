"""`zk-pipeline quarantine …`: list and release records that could not be read as punches."""

from __future__ import annotations

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import as_json, print_rows, wide_option


@click.group()
def quarantine() -> None:
    """Records that could not be read as punches."""


@quarantine.command("list")
@click.option("--all", "everything", is_flag=True, help="Also released records.")
@wide_option
@as_json
def list_(everything: bool, as_json: bool) -> None:
    """List the records in quarantine with their reasons.

    \b
    Example:  zk-pipeline quarantine list --json
    """
    rows: list[dict[str, object]] = [
        {
            "device": one.device,
            "reason": one.reason,
            "poll_id": one.poll_id,
            "created_at": one.created_at,
            "released_at": one.released_at,
            "record_format": one.record_format,
            "raw": one.raw.hex() if one.text is None or as_json else one.text,
            **({"text": one.text} if as_json else {}),
        }
        for one in open_context().store.quarantine.all()
        if everything or one.released_at is None
    ]
    columns = ["device", "reason", "poll_id", "created_at", *(["released_at"] if everything else []), "raw"]
    print_rows(rows, columns, as_json=as_json, none="the quarantine is empty", keep={"reason"})


@quarantine.command("release")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=DEVICE)
@wide_option
@as_json
def release(names: tuple[str, ...], as_json: bool) -> int:
    """Decode quarantined records of the named devices (default: all) again. Useful after `device update --encoding`, or
    once the user list of a terminal was read whose records contain only a slot number. Decoded punches are stored; the
    next processing computes their days again.

    \b
    Example:  zk-pipeline quarantine release "Main Office"
    """
    from zk_pipeline.operations.quarantine_release import release_quarantine  # noqa: PLC0415 (pandas, slow to import)

    context = open_context()
    done = release_quarantine(context.store, names or None, punch_events=context.settings.receiver_punch_events)
    rows = [vars(one) for one in done]
    shown = ["device", "records", "new", "left", *(["error"] if any(one.error for one in done) else [])]
    print_rows(rows, shown, as_json=as_json, none="the quarantine is empty")
    return int(any(one.error for one in done))
