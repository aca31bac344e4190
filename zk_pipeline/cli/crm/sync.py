"""`zk-pipeline sync`: deliver to the CRM in Dagster runs, or print the requests (`--dry-run`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from itertools import islice

import click

from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, exit_code, note, print_json, print_pairs, progress_of, warn, working
from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.crm.mapping import FieldMapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import batch_key, batch_record, crm_record
from zk_pipeline.operations.date_range import check_date_range, option_name
from zk_pipeline.operations.sync import additional_states, crm_endpoint, crm_mapping, waiting_message
from zk_pipeline.store.deliveries.due_deliveries import SyncScope


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Deliver at most this many records.")
@click.option("--start-date", type=WORK_DATE, help="First work date.")
@click.option("--end-date", type=WORK_DATE, help="Last work date.")
@click.option("--user-id", help="Only this user.")
@click.option("--retry-failed", is_flag=True, help="Also deliveries in state retry, and dead letters.")
@click.option(
    "--force",
    is_flag=True,
    help="Also delivered records, under the same keys; ignores a pause that the CRM asked for (Retry-After).",
)
@click.option("--dry-run", is_flag=True, help="Print the requests without sending them.")
@as_json
def sync(
    *,
    limit: int | None,
    start_date: date | None,
    end_date: date | None,
    user_id: str | None,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Deliver due records to the CRM. The latest revision of each attendance day is sent once.

    \b
    Example:  zk-pipeline sync --start-date 2026-11-01 --end-date 2026-11-22 --retry-failed
    """
    check_date_range(start_date, end_date, word=option_name)
    context = open_context()
    scope = SyncScope(first=start_date, last=end_date, user_id=user_id)
    if dry_run:
        asked = replace(scope, states=additional_states(retry=retry_failed, force=force))
        return _print_requests(context.settings, context.store.deliveries.peek(asked, limit))
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    with working("delivering"), context.launcher() as launcher, progress_of("zk_pipeline.operations.sync"):
        results = actions.sync(
            launcher, context.store, scope=scope, limit=limit, retry=retry_failed, force=force, notify=note
        )
    names = ("delivered", "retry", "failed", "unsent")
    counts = {name: sum(result.observed.get(name, 0) for result in results) for name in names}
    is_interrupted = any(result.is_interrupted for result in results)
    if is_interrupted:
        left = sum(context.store.deliveries.due_dates(scope).values())
        counts["unsent"] = max(counts["unsent"], left)
    if as_json:
        print_json({"run_ids": [result.run_id for result in results]} | counts)
    elif results:
        print_pairs(counts)
    else:
        note("no delivery is due")
    code = exit_code(results)
    if is_interrupted:
        warn(waiting_message(context.store, context.settings, left))
    if waiting := context.store.deliveries.states().get("retry", 0):
        failed = counted(waiting, "delivery", "deliveries")
        warn(f"{failed} failed while others arrived: next attempt by retry_failed_syncs (every 6 hours)")
    return code


def _print_requests(settings: Settings, due: Iterable[Delivery]) -> int:
    """Print the requests as one JSON object without the token; `url` is null if CRM_API_URL is not set. Streams, so
    that the number of deliveries has no bound. Raises CrmMisconfigured for an unusable URL or mapping.
    """
    mapping = crm_mapping(settings)
    url = json.dumps(None if settings.crm_api_url is None else crm_endpoint(settings).shown)
    scheme = json.dumps(f"{settings.crm_auth_scheme} [hidden]")
    click.echo(f'{{"method": "POST", "url": {url}, "authorization": {scheme}, "requests": [', nl=False)
    separator, end = "\n", "]}"
    for request in _requests(iter(due), settings.crm_batch_size, mapping):
        click.echo(separator + json.dumps(request, ensure_ascii=False), nl=False)
        separator, end = ",\n", "\n]}"
    click.echo(end)
    return 0


def _requests(due: Iterator[Delivery], batch_size: int, mapping: FieldMapping) -> Iterator[dict[str, object]]:
    if batch_size == 1:
        for one in due:
            yield {"idempotency_key": one.idempotency_key, "body": crm_record(one, mapping)}
        return
    while batch := list(islice(due, batch_size)):
        yield {"idempotency_key": batch_key(batch), "body": [batch_record(one, mapping) for one in batch]}
