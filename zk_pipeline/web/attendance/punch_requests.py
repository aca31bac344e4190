"""Requests of manual punches: list, form, upload of a table, and decisions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.pagination import PageSize, Text
from zk_pipeline.http.punch_requests import PunchRequestParameters
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.files.punch_file import parse_wall_clock, request_punches
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.enrolled_users import unknown_user_warning
from zk_pipeline.store.work_dates.manual_punches import (
    Decision,
    ManualPunch,
    PunchRequest,
)
from zk_pipeline.web.attendance.fields import optional
from zk_pipeline.web.list_pages import ROWS_OF_A_PAGE, listed_by_number
from zk_pipeline.web.rendering import ApproverForm, Form, Reader, Requester, RequesterForm, render
from zk_pipeline.web.uploads import RequesterUpload

router = APIRouter(include_in_schema=False)
_MAX_LENGTH = 500
_CHOICE = re.compile(r"punch-(\d{1,18})", re.ASCII)
_AGAIN = "The next processing run computes their days again."
_DONE = {"approved": f"Approved. {_AGAIN}", "rejected": "Rejected.", "withdrawn": f"Withdrawn. {_AGAIN}"}
_NEED_REASON = {"rejected": "a rejection needs a reason", "withdrawn": "a withdrawal needs a reason"}


class RequestsQuery(PunchRequestParameters):
    """Filters of the list; `done`: what was done before."""

    page_size: PageSize = ROWS_OF_A_PAGE
    done: Text = None


@router.get("/punch-requests")
def requests(request: Request, services: Given, identity: Reader) -> Response:
    return _draw_list(request, services, identity, done=_DONE.get(request.query_params.get("done", "")))


@router.get("/punch-requests/new")
def show_new(request: Request, services: Given, identity: Requester) -> Response:
    """The form, filled with the parameters of the address."""
    return _draw_form(request, services, identity, dict(request.query_params))


@router.post("/punch-requests/new")
def add(request: Request, services: Given, form: RequesterForm) -> Response:
    try:
        wanted = _request(form.fields)
        refuse_name(services.store, wanted.user_id)
        made = services.store.manual_punches.request(
            [wanted], form.identity.name, history_start=services.settings.history_start
        )
    except UsageError as error:
        return _draw_form(request, services, form.identity, form.fields, problem=error)
    return _draw_requested(request, services, form.identity, made)


@router.post("/punch-requests/upload")
def upload(request: Request, services: Given, form: RequesterUpload) -> Response:
    """Store all requests of a table, or none."""
    try:
        file = form.chosen("a table (.csv)")
        made = request_punches(
            services.store,
            file.name,
            file.content,
            form.identity.name,
            history_start=services.settings.history_start,
        )
    except UsageError as error:
        return _draw_list(request, services, form.identity, problem=error)
    return _draw_requested(request, services, form.identity, made)


@router.post("/punch-requests/decide")
def decide(request: Request, services: Given, form: ApproverForm) -> Response:
    """Approve, reject or withdraw the requests of the fields `punch-ID`; `decision` `all` approves those of the field
    `shown`.
    """
    fields, decision = form.fields, form.fields.get("decision")
    chosen = fields.get("shown", "").split() if decision == "all" else list(fields)
    ids = [int(found[1]) for one in chosen if (found := _CHOICE.fullmatch(one))]
    try:
        if decision not in ("all", *_DONE) or not ids:
            raise UsageError("choose at least one request")
        reason = _text(fields, "decision_reason")
        if decision in _NEED_REASON and not reason:
            raise UsageError(_NEED_REASON[decision])
    except UsageError as error:
        return _draw_list(request, services, form.identity, problem=error, fields=fields)
    punches = services.store.manual_punches
    if decision == "withdrawn":
        punches.withdraw(ids, form.identity.name, reason or "")
        return RedirectResponse("/punch-requests?done=withdrawn", 303)
    wanted: Decision = "rejected" if decision == "rejected" else "approved"
    punches.decide(ids, wanted, form.identity.name, reason=reason, may_be_own=False)
    return RedirectResponse(f"/punch-requests?done={wanted}", 303)


def _text(fields: Form, name: str) -> str | None:
    text = optional(fields, name)
    if text is not None and len(text) > _MAX_LENGTH:
        raise UsageError(f"{name}: at most {_MAX_LENGTH} characters")
    return text


def _request(fields: Form) -> PunchRequest:
    local = parse_wall_clock(f"{fields.get('date', '')[:20]} {fields.get('time', '')[:20]}")
    return PunchRequest(
        _text(fields, "user_id") or "",
        fields.get("site", ""),
        local,
        fields.get("state", ""),
        _text(fields, "reason") or "",
    )


def _draw_requested(request: Request, services: Services, identity: Identity, made: Sequence[ManualPunch]) -> Response:
    unknown = services.store.enrolled_users.unknown(one.user_id for one in made)
    return _draw_list(
        request,
        services,
        identity,
        done=f"{counted(len(made), 'request')} stored. Another operator must approve.",
        warning=unknown_user_warning(unknown),
    )


def _draw_list(
    request: Request,
    services: Services,
    identity: Identity,
    *,
    done: str | None = None,
    warning: str | None = None,
    problem: Exception | None = None,
    fields: Form | None = None,
) -> Response:
    found = listed_by_number(request, "/punch-requests", RequestsQuery, lambda asked: _page(services, asked))
    around = services.store.enrolled_users.around(one.user_id for one in found.rows)
    return render(
        request,
        "punch_requests.html",
        identity,
        status=400 if problem else found.status,
        found=found,
        done=done,
        warning=warning,
        problem=problem,
        fields=fields or {},
        names=around.names,
        sites=around.sites,
    )


def _page(services: Services, asked: RequestsQuery) -> tuple[int, list[ManualPunch]]:
    return services.store.manual_punches.page(asked.wanted, limit=asked.size, offset=asked.offset)


def _draw_form(
    request: Request,
    services: Services,
    identity: Identity,
    fields: Form,
    *,
    problem: Exception | None = None,
) -> Response:
    return render(
        request,
        "punch_request_form.html",
        identity,
        breadcrumbs=[("Punch requests", "/punch-requests")],
        status=400 if problem else 200,
        fields=fields,
        problem=problem,
        sites=services.store.devices.sites(),
    )
