"""Deliver what is due to the CRM, as the only sender."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timezone

from zk_pipeline.config.settings import Settings
from zk_pipeline.crm.client import CrmClient, check_lookup
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.endpoint import CrmEndpoint, TokenFile, TokenSource, read_token
from zk_pipeline.crm.errors import CrmSettingWrong
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping, read_mapping
from zk_pipeline.crm.models import DeliverySummary
from zk_pipeline.crm.probe import CrmProbe, probe
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.store import Store, utc_now

PROGRESS_EVERY = 5.0  # seconds between two words about how far a sync is

logger = logging.getLogger(__name__)


def crm_endpoint(settings: Settings) -> CrmEndpoint:
    """Where the CRM is. Raises CrmSettingWrong where it is not set or cannot be used."""
    if settings.crm_api_url is None:
        raise CrmSettingWrong("CRM_API_URL is not set: there is no CRM to deliver to, and nothing was attempted")
    return CrmEndpoint(
        url=settings.crm_api_url,
        scheme=settings.crm_auth_scheme,
        timeout=settings.crm_request_timeout,
        ca_bundle=settings.crm_ca_bundle,
        allow_insecure_http=settings.crm_allow_insecure_http,
        lookup=settings.crm_lookup,
    )


def crm_token(settings: Settings) -> TokenSource:
    """Where the token comes from. Raises CrmSettingWrong where neither variable is set, or both are."""
    value, path = settings.crm_api_token, settings.crm_api_token_file
    if value is not None and path is not None:
        raise CrmSettingWrong("CRM_API_TOKEN and CRM_API_TOKEN_FILE are both set: keep one")
    if path is not None:
        return TokenFile(path)
    if value is None:
        raise CrmSettingWrong("CRM_API_TOKEN is not set (nor CRM_API_TOKEN_FILE): nothing was attempted")
    secret = value
    return secret.get_secret_value


def crm_mapping(settings: Settings) -> FieldMapping:
    """How the CRM wants its records. Raises CrmSettingWrong, naming file and line, where the file is wrong."""
    path = settings.crm_mapping_path
    return IDENTITY_MAPPING if path is None else read_mapping(path)


def check_crm(settings: Settings) -> None:
    """Raises CrmSettingWrong for whatever of the set-up can be seen to be wrong or missing without asking the CRM."""
    endpoint = crm_endpoint(settings)
    read_token(crm_token(settings))
    check_lookup(endpoint, crm_mapping(settings))


def also_due(*, retry: bool, force: bool) -> tuple[str, ...]:
    """States of deliveries that are to go out beside those that are due anyway."""
    return (("retry", "failed") if retry else ()) + (("delivered",) if force else ())


def probe_crm(settings: Settings) -> CrmProbe:
    """Whether the CRM could be delivered to now, without creating a record. Raises CrmSettingWrong."""
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
    """Deliver what of `scope` is due, at most `limit` records. `settled` is told the counts whenever outcomes were
    recorded, also on the way out of an interrupted run, and `progress` now and then.

    A pause that the CRM has asked for holds, unless `force`, which lifts it. Where the run had to stop early, `stopped`
    says how many still wait, as `unsent` does, and when they go again.

    Raises SenderBusy while another run is sending, SenderLost where another may be by now, and CrmMisconfigured where a
    person must change a setting first.
    """
    deliveries = store.deliveries
    with deliveries.acquire_sync_lock() as has_sync_lock, crm_client(settings) as client:
        if force:
            lift_pause(store, settings)
        due = sum(block_inconsistent_dates(store, scope).values())
        words = _Progress(due if limit is None else min(due, limit), progress or _silently, settled or _silently)
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
            progress=words.tell,
        )
    if summary.stopped is None:
        return summary
    left = sum(deliveries.due_dates(replace(scope, states=())).values())
    stopped = f"{summary.stopped}; {still_waiting(store, settings, left)}"
    return replace(summary, unsent=max(summary.unsent, left), stopped=stopped)


def still_waiting(store: Store, settings: Settings, left: int) -> str:
    """The number of deliveries that are due, and when they are sent, for people."""
    until = paused_until(store, settings)
    when = f"the next sync sends them (sync_to_crm_schedule: every {settings.crm_sync_interval_minutes} minutes)"
    not_before = f", not before {_moment(until)}, as the CRM asked" if until else ""
    return f"{left} still wait: {when}{not_before}"


def paused_until(store: Store, settings: Settings) -> datetime | None:
    """Until when the CRM of the settings has asked for a pause; None without a CRM, or where no pause holds."""
    return None if settings.crm_api_url is None else store.deliveries.paused_until(settings.crm_api_url)


def lift_pause(store: Store, settings: Settings) -> None:
    """Let deliveries go although the CRM has asked for a pause; it may ask again."""
    if paused_until(store, settings) is not None:
        store.deliveries.lift_pause()


def why_paused(store: Store, settings: Settings) -> str | None:
    """In words, that the CRM has asked for a pause that is not over; None otherwise."""
    until = paused_until(store, settings)
    return None if until is None else f"the CRM asked for a pause until {_moment(until)}; `sync --force` lifts it"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _silently(_: DeliverySummary) -> None:
    pass


def block_inconsistent_dates(store: Store, scope: SyncScope) -> dict[date, int]:
    """Keep from the CRM every work date of `scope` whose rows break a rule of the tables, just before it is told.

    Returns the other work dates with due deliveries and how many.

    Raises StoreUnusable, with nothing sent, where the tables themselves are not what they should be.
    """
    faults = store.quality.schema_faults()
    if faults:
        raise StoreUnusable(f"nothing was sent to the CRM: {'; '.join(faults[:3])}; `zk-pipeline restore` a backup")
    first, last = scope.first or date.min, scope.last or date.max
    due = store.deliveries.due_dates(scope)
    held = {day for day in store.quality.held() if first <= day <= last}
    unsound = store.quality.hold({*due, *held})
    if held - unsound.keys():  # let go just now: what they have due was not counted
        return store.deliveries.due_dates(scope)
    return {day: count for day, count in due.items() if day not in unsound}


def retry_failed(
    store: Store, *, user_id: str | None = None, first: date | None = None, last: date | None = None
) -> int:
    """Dead letters, and what waits for its next round, are due again: the next sync sends them, under their keys.

    How many there were. Nothing is sent here, so it may be called while a sync runs.
    """
    return store.deliveries.requeue(SyncScope(user_id=user_id, first=first, last=last))


class _Progress:
    """Says how far a long sync is, not more often than people read it; a short one says nothing."""

    def __init__(
        self, due: int, progress: Callable[[DeliverySummary], None], settled: Callable[[DeliverySummary], None]
    ) -> None:
        self.due, self.progress, self.settled = due, progress, settled
        self.started = self.told = time.monotonic()

    def tell(self, sofar: DeliverySummary) -> None:
        self.settled(sofar)
        now = time.monotonic()
        if now - self.told < PROGRESS_EVERY:
            return
        self.told = now
        rate = sofar.total / (now - self.started)
        logger.info("%d of %d done (%.0f/s): %s", sofar.total, max(self.due, sofar.total), rate, sofar.message())
        self.progress(sofar)
