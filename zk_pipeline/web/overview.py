"""Overview page: alerts, terminals, presence, stale dates and the delivery queue."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.http.services import Given
from zk_pipeline.operations.crm_pause import paused_until
from zk_pipeline.store.queries.presence import presence
from zk_pipeline.store.work_dates.manual_punches import PunchRequestFilter
from zk_pipeline.web.devices.status import lines_of, status_of
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
# CSS class and label of each delivery state, in the order of a delivery.
_STATES = {
    "pending": ("", "waiting"),
    "sending": ("", "being sent"),
    "retry": ("warn", "retry"),
    "failed": ("bad", "dead letters"),
    "delivered": ("ok", "delivered"),
    "superseded": ("", "superseded"),
}


@router.get("/")
def overview(request: Request, services: Given, identity: Reader) -> Response:
    now = services.clock()
    status = status_of(services)
    waiting, _ = services.store.manual_punches.page(PunchRequestFilter(state="waiting"), limit=0)
    return render(
        request,
        "overview.html",
        identity,
        store=status,
        waiting_requests=waiting,
        lines=lines_of(services, status),
        pending_terminals=len(services.store.push.pending()),
        presence=presence(services.store.database, now),
        deliveries=[(state, *shown, status.deliveries.get(state, 0)) for state, shown in _STATES.items()],
        paused=paused_until(services.store, services.settings),
        is_crm_set=services.settings.crm_api_url is not None,
        alerts=[one for one in services.store.alerts.known() if one.resolved_at is None],
        dagster=services.watch.daemon_status(now),
    )
