"""Deliveries to the CRM: queue by state, dead letters, and retries as Dagster runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import RedirectResponse, Response

from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.errors import error_body
from zk_pipeline.http.fields import as_date
from zk_pipeline.http.pagination import DateText, Empty, Text
from zk_pipeline.http.run_workers import Action, TooManyActions
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.crm_pause import paused_until
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.deliveries.deliveries import DeliveryKey
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.queries.delivery_lists import VIEWS, DeliveryFilter, DeliveryRow, order_of
from zk_pipeline.store.queries.lists import Rows
from zk_pipeline.web.list_pages import (
    PageParameters,
    check_date_range,
    date_presets,
    listed,
    today_of,
    validation_messages,
)
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import OperatorForm, Reader, render, safe_target
from zk_pipeline.web.runs import to_run
from zk_pipeline.web.template_filters import delivery_label

router = APIRouter(include_in_schema=False)
View = Literal["open", "pending", "sending", "retry", "failed", "delivered", "superseded"]


class DeliveriesQuery(PageParameters):
    """Filters of deliveries; dates are work dates."""

    state: View | Empty | None = None
    device: None = None
    ordering: None = None

    @property
    def view(self) -> str:
        return self.state or "open"


class RetryForm(BaseModel):
    """Scope of a retry: due deliveries and dead letters of a user and of work dates."""

    model_config = ConfigDict(extra="forbid")

    user_id: Text = None
    start_date: DateText = None
    end_date: DateText = None

    def scope(self) -> SyncScope:
        first, last = as_date(self.start_date), as_date(self.end_date)
        check_date_range(first, last)
        return SyncScope(first=first, last=last, user_id=self.user_id)


@router.get("/deliveries")
def deliveries(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity)


@router.post("/deliveries/retry")
def retry(request: Request, services: Given, form: OperatorForm) -> Response:
    """Start a sync with retries for the deliveries of the fields `delivery-N`, or for the scope of a form without the
    field `back`; redirect to the page of the run, or without a selection to `back`.
    """
    chosen = [value for name, value in form.fields.items() if name.startswith("delivery-")]
    if chosen:
        return _retry_chosen(request, services, form.identity, chosen)
    if "back" in form.fields:
        leave_notice(form.identity, "No delivery is selected: nothing is sent.")
        return RedirectResponse(safe_target(form.fields["back"]), 303)
    try:
        scope = RetryForm.model_validate(form.fields).scope()
    except ValidationError as error:
        raise UsageError(validation_messages(error)) from None
    try:
        check_crm(services.settings)  # a wrong setting is reported here, also if no delivery is due
        action = Action(kind="sync", arguments={"scope": scope, "limit": None, "retry": True})
        return to_run(services, action, form.identity)
    except (CrmMisconfigured, TooManyActions) as error:
        return _refused(request, services, form.identity, error)


def _retry_chosen(request: Request, services: Services, identity: Identity, chosen: Sequence[str]) -> Response:
    """Make the chosen deliveries due and start a sync, which sends all that is due."""
    try:
        keys = [
            DeliveryKey(site, user_id, date.fromisoformat(day), revision)
            for site, user_id, day, revision in map(json.loads, chosen)
        ]
    except (ValueError, TypeError):
        raise UsageError("the selection cannot be read: load the page again") from None
    try:
        check_crm(services.settings)
        services.store.deliveries.requeue_chosen(keys)
        return to_run(services, Action(kind="sync", arguments={"scope": SyncScope(), "limit": None}), identity)
    except (CrmMisconfigured, TooManyActions) as error:
        return _refused(request, services, identity, error)


def _refused(request: Request, services: Services, identity: Identity, error: ZkPipelineError) -> Response:
    status, body, _ = error_body(error)
    return _draw(request, services, identity, refused=(status, body["detail"]))


def _draw(
    request: Request, services: Services, identity: Identity, *, refused: tuple[int, str] | None = None
) -> Response:
    def read(asked: DeliveriesQuery) -> Rows[DeliveryRow]:
        wanted = DeliveryFilter(view=asked.view, user_id=asked.user_id, first=asked.first, last=asked.last)
        return services.store.delivery_lists.page(wanted, asked.page_request(order_of(asked.view)))

    found = listed(request, DeliveriesQuery, read)
    return render(
        request,
        "deliveries.html",
        identity,
        status=refused[0] if refused else found.status,
        refused=refused and refused[1],
        found=found,
        views=[(view, delivery_label(view)) for view in VIEWS if view != "open"],
        paused=paused_until(services.store, services.settings),
        queue=services.store.delivery_lists.queue(),
        names=services.store.enrolled_users.around(row.user_id for row in found.rows).names if found.rows else {},
        may_send=identity.may("operate"),
        presets=date_presets("/deliveries", found, today_of(services)),
        back="/deliveries" + (f"?{request.url.query}" if request.method == "GET" and request.url.query else ""),
    )
