"""Sync: deliver due records to the CRM under the sync lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from zk_pipeline.config.settings import Settings
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.endpoint import CrmEndpoint, TokenFile, TokenSource, read_token
from zk_pipeline.crm.errors import CrmSettingWrong
from zk_pipeline.crm.lookup import check_lookup
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping, read_mapping
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.operations.crm_pause import paused_until
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline.time_text import instant

if TYPE_CHECKING:
    from zk_pipeline.crm.client import CrmClient
    from zk_pipeline.crm.probe import CrmProbe

PROGRESS_INTERVAL_SECONDS = 5.0  # between two progress messages

logger = logging.getLogger(__name__)


def crm_endpoint(settings: Settings) -> CrmEndpoint:
    """The CRM endpoint from the settings. Raises CrmSettingWrong if it is missing or invalid."""
    if settings.crm_api_url is None:
        raise CrmSettingWrong("CRM_API_URL is not set: there is no CRM to deliver to; no request was sent")
    return CrmEndpoint(
        url=settings.crm_api_url,
        scheme=settings.crm_auth_scheme,
        timeout=settings.crm_request_timeout,
        ca_bundle=settings.crm_ca_bundle,
        allow_insecure_http=settings.crm_allow_insecure_http,
        lookup=settings.crm_lookup,
    )


def crm_token(settings: Settings) -> TokenSource:
    """The source of the token. Raises CrmSettingWrong unless exactly one of its two variables is set."""
    value, path = settings.crm_api_token, settings.crm_api_token_file
    if value is not None and path is not None:
        raise CrmSettingWrong("CRM_API_TOKEN and CRM_API_TOKEN_FILE are both set: keep one")
    if path is not None:
        return TokenFile(path)
    if value is None:
        raise CrmSettingWrong("neither CRM_API_TOKEN nor CRM_API_TOKEN_FILE is set: set one; no request was sent")
    secret = value
    return secret.get_secret_value


def crm_mapping(settings: Settings) -> FieldMapping:
    """The field mapping from the settings. Raises CrmSettingWrong, naming file and line, if the file is invalid."""
    path = settings.crm_mapping_path
    return IDENTITY_MAPPING if path is None else read_mapping(path)


def check_crm(settings: Settings) -> None:
    """Raises CrmSettingWrong for missing or invalid CRM settings, without a request to the CRM."""
    endpoint = crm_endpoint(settings)
    read_token(crm_token(settings))
    check_lookup(endpoint, crm_mapping(settings))


def additional_states(*, retry: bool, force: bool) -> tuple[str, ...]:
    """States of deliveries to send in addition to those that are due."""
    return (("retry", "failed") if retry else ()) + (("delivered",) if force else ())


def probe_crm(settings: Settings) -> CrmProbe:
    """Test the connection to the CRM without creating a record. Raises CrmSettingWrong."""
    from zk_pipeline.crm.probe import probe  # noqa: PLC0415 (requests, slow to import)

    check_crm(settings)
    return probe(
        crm_endpoint(settings),
        token=crm_token(settings),
        clock=utc_now,
        path=settings.crm_probe_path,
        mapping=crm_mapping(settings),
    )


@contextmanager
def crm_client(settings: Settings) -> Iterator[CrmClient]:
    """A client for the CRM of the settings. Raises CrmSettingWrong."""
    from zk_pipeline.crm.client import CrmClient  # noqa: PLC0415 (requests, slow to import)

    with CrmClient(
        crm_endpoint(settings), token=crm_token(settings), clock=utc_now, mapping=crm_mapping(settings)
    ) as client:
        yield client


def sync(
    store: Store,
    settings: Settings,
    scope: SyncScope,
    *,
    run_id: str,
    limit: int | None = None,
    force: bool = False,
    progress: Callable[[DeliverySummary], None] | None = None,
    settled: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Send the due deliveries of `scope`, at most `limit` records. `settled` receives the counts after each settlement,
    also while an interrupted run ends; `progress` receives them every PROGRESS_INTERVAL_SECONDS at most.

    A pause that the CRM asked for applies unless `force`, which lifts it. If the run stops early, `stopped` has the
    reason, the number of deliveries that still wait (also in `unsent`), and the time of the next sync.

    Raises SyncAlreadyRunning during another sync, SyncLockLost if another may be running, and CrmMisconfigured if an
    operator must change a setting first.
    """
    with store.database.read("check the store"):
        pass  # upgrades an old store, which the sync lock prevents
    deliveries = store.deliveries
    with deliveries.acquire_sync_lock() as has_sync_lock, crm_client(settings) as client:
        if force:
            lift_pause(store, settings)
        due = sum(block_inconsistent_dates(store, scope).values())
        reporter = _ProgressReporter(due if limit is None else min(due, limit), progress or _ignore, settled or _ignore)
        summary = deliver(
            deliveries.outbox(scope, run_id, has_sync_lock, client.record_body),
            client,
            concurrency=settings.crm_concurrency,
            max_attempts=settings.crm_max_retries,
            batch_size=settings.crm_batch_size,
            patience=settings.crm_outage_patience,
            paused_until=paused_until(store, settings),
            save_pause=lambda until: deliveries.save_pause(until, client.endpoint.url),
            clock=store.clock,
            limit=limit,
            progress=reporter.report,
        )
    if summary.stopped is None:
        return summary
    left = sum(deliveries.due_dates(replace(scope, states=())).values())
    stopped = f"{summary.stopped}; {waiting_message(store, settings, left)}"
    return replace(summary, unsent=max(summary.unsent, left), stopped=stopped)


def waiting_message(store: Store, settings: Settings, left: int) -> str:
    """Message with the number of due deliveries and the time of the next sync."""
    until = paused_until(store, settings)
    when = f"the next sync sends them (sync_to_crm_schedule: every {settings.crm_sync_interval_minutes} minutes)"
    not_before = f", not before {instant(until)}, as the CRM asked" if until else ""
    return f"{left} still {'waits' if left == 1 else 'wait'}: {when}{not_before}"


def lift_pause(store: Store, settings: Settings) -> None:
    """End the pause that the CRM asked for; the CRM may ask for another."""
    if paused_until(store, settings) is not None:
        store.deliveries.lift_pause()


def _ignore(_: DeliverySummary) -> None:
    pass


def block_inconsistent_dates(store: Store, scope: SyncScope) -> dict[date, int]:
    """Block the work dates of `scope` with inconsistent rows from delivery, just before a sync.

    Returns the number of due deliveries of each other work date. Raises StoreUnusable, with nothing sent, if tables or
    columns differ from the migrations.
    """
    faults = store.quality.schema_faults()
    if faults:
        raise StoreUnusable(f"nothing was sent to the CRM: {'; '.join(faults[:3])}; `zk-pipeline restore` a backup")
    first, last = scope.first or date.min, scope.last or date.max
    due = store.deliveries.due_dates(scope)
    blocked = {day for day in store.quality.blocked_dates() if first <= day <= last}
    inconsistent = store.quality.block_inconsistent({*due, *blocked})
    if blocked - inconsistent.keys():  # unblocked just now: their due deliveries were not counted
        return store.deliveries.due_dates(scope)
    return {day: count for day, count in due.items() if day not in inconsistent}


def retry_failed(
    store: Store, *, user_id: str | None = None, first: date | None = None, last: date | None = None
) -> int:
    """Make dead letters, and deliveries that wait for a retry round, due again: the next sync sends them under their
    keys. Returns their number. Sends nothing, so it may be called during a sync.
    """
    return store.deliveries.requeue(SyncScope(user_id=user_id, first=first, last=last))


class _ProgressReporter:
    """Logs the progress of a sync, at most every PROGRESS_INTERVAL_SECONDS."""

    def __init__(
        self, due: int, progress: Callable[[DeliverySummary], None], settled: Callable[[DeliverySummary], None]
    ) -> None:
        self.due, self.progress, self.settled = due, progress, settled
        self.started = self.reported_at = time.monotonic()

    def report(self, sofar: DeliverySummary) -> None:
        self.settled(sofar)
        now = time.monotonic()
        if now - self.reported_at < PROGRESS_INTERVAL_SECONDS:
            return
        self.reported_at = now
        rate = sofar.total / (now - self.started)
        logger.info("%d of %d done (%.0f/s): %s", sofar.total, max(self.due, sofar.total), rate, sofar.message())
        self.progress(sofar)
