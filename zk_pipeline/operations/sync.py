"""Deliver what is due to the CRM, as the only sender."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.summary import DeliverySummary
from zk_pipeline.crm.token import TokenFile, TokenSource
from zk_pipeline.settings import Settings
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.outbox import Scope
from zk_pipeline.store.store import Store, utc_now


def crm_endpoint(settings: Settings) -> CrmEndpoint:
    """Where the CRM is. Raises CrmMisconfigured, naming the variable, where it is not set or cannot be used."""
    if settings.crm_api_url is None:
        raise CrmMisconfigured("CRM_API_URL is not set: there is no CRM to deliver to, and nothing was attempted")
    return CrmEndpoint(
        url=settings.crm_api_url,
        scheme=settings.crm_auth_scheme,
        timeout=settings.crm_request_timeout,
        ca_bundle=settings.crm_ca_bundle,
        allow_insecure_http=settings.crm_allow_insecure_http,
    )


def crm_token(settings: Settings) -> TokenSource:
    """Where the token comes from. Raises CrmMisconfigured where neither variable is set, or both are."""
    value, path = settings.crm_api_token, settings.crm_api_token_file
    if value is not None and path is not None:
        raise CrmMisconfigured("CRM_API_TOKEN and CRM_API_TOKEN_FILE are both set: keep one")
    if path is not None:
        return TokenFile(path)
    if value is None:
        raise CrmMisconfigured("CRM_API_TOKEN is not set (nor CRM_API_TOKEN_FILE): nothing was attempted")
    secret = value
    return secret.get_secret_value


@contextmanager
def crm_client(settings: Settings) -> Iterator[CrmClient]:
    """A client for the CRM of the settings. Raises CrmMisconfigured."""
    with CrmClient(crm_endpoint(settings), token=crm_token(settings), clock=utc_now) as client:
        yield client


def sync(
    store: Store,
    settings: Settings,
    scope: Scope,
    *,
    run_id: str,
    limit: int | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Deliver what of `scope` is due, at most `limit` records.

    Raises SenderBusy while another run is sending, and CrmMisconfigured where a person must change a setting first.
    """
    with store.deliveries.only_sender(), crm_client(settings) as client:
        hold_unsound(store, scope)
        return deliver(
            store.deliveries.outbox(scope, run_id),
            client,
            concurrency=settings.crm_concurrency,
            max_attempts=settings.crm_max_retries,
            batch_size=settings.crm_batch_size,
            clock=store.clock,
            limit=limit,
            progress=progress,
        )


def hold_unsound(store: Store, scope: Scope) -> None:
    """Keep from the CRM every work date of `scope` whose rows break a rule of the tables, just before it is told.

    Raises StoreUnusable, with nothing sent, where the tables themselves are not what they should be.
    """
    faults = store.quality.schema_faults()
    if faults:
        raise StoreUnusable(f"nothing was sent to the CRM: {'; '.join(faults[:3])}; `zk-pipeline restore` a backup")
    first, last = scope.first or date.min, scope.last or date.max
    due = store.deliveries.due_dates(scope)
    store.quality.hold({day for day in {*due, *store.quality.held()} if first <= day <= last})
