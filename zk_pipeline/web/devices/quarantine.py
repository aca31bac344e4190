"""Quarantined records with their reasons and bytes; releasing them."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.http.auth import Identity
from zk_pipeline.http.pagination import Empty, Text
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.lists import Rows
from zk_pipeline.store.terminals.quarantine import PAGE_ORDER, QuarantinedRecord
from zk_pipeline.web.list_pages import PageParameters, listed
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import OperatorForm, Reader, render

router = APIRouter(include_in_schema=False)


class QuarantineQuery(PageParameters):
    """Filters of records. The device is given by name, since removed devices have records too."""

    name: Text = None
    released: Literal["true", "false"] | Empty | None = None
    device: None = None
    user_id: None = None
    start_date: None = None
    end_date: None = None
    ordering: None = None


@router.get("/quarantine")
def quarantine(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity, None)


@router.post("/quarantine/release")
def release(request: Request, services: Given, form: OperatorForm) -> Response:
    """Decode the records of the devices in the fields `device-N` again; with `all`, of every one.

    Raises UnknownDevice.
    """
    from zk_pipeline.operations.quarantine_release import release_quarantine  # noqa: PLC0415 (pandas, slow to import)

    chosen = [value for name, value in form.fields.items() if name.startswith("device-")]
    if not chosen and "all" not in form.fields:
        leave_notice(form.identity, "No terminal is selected: nothing is decoded again.")
        return RedirectResponse("/quarantine", 303)
    events = services.settings.receiver_punch_events
    done = release_quarantine(services.store, None if "all" in form.fields else chosen, punch_events=events)
    return _draw(request, services, form.identity, done)


def _draw(request: Request, services: Services, identity: Identity, done: object) -> Response:
    def read(asked: QuarantineQuery) -> Rows[QuarantinedRecord]:
        return services.store.quarantine.page(
            asked.page_request(PAGE_ORDER), device=asked.name, released=asked.released == "true"
        )

    found = listed(request, QuarantineQuery, read)
    return render(
        request,
        "quarantine.html",
        identity,
        status=found.status,
        found=found,
        done=done,
        kinds=services.store.quarantine.kinds(),
        device_ids={one.name: one.id for one in services.store.devices.all()},
        may_release=identity.may("operate"),
    )
