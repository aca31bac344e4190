"""Page of leaves: list, form, and import of a table or a calendar."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.leaves import LeaveParameters
from zk_pipeline.http.pagination import PageSize
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Undo
from zk_pipeline.operations.files.leave_file import ImportOptions, import_leaves
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.enrolled_users import unknown_user_warning
from zk_pipeline.store.shifts.leaves import DAY_PARTS, Leave, NewLeave
from zk_pipeline.web.attendance.fields import id_of, import_summary, optional, whole_date
from zk_pipeline.web.list_pages import ROWS_OF_A_PAGE, listed_by_number
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import ApproverForm, Form, Reader, render
from zk_pipeline.web.uploads import ApproverUpload

router = APIRouter(include_in_schema=False)
_KINDS = ("annual leave", "sick leave", "unpaid leave", "parental leave", "business trip", "training")


class LeavesQuery(LeaveParameters):
    """Filters of the list."""

    page_size: PageSize = ROWS_OF_A_PAGE


@router.get("/leaves")
def leaves(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity)


@router.post("/leaves")
def add(request: Request, services: Given, form: ApproverForm) -> Response:
    try:
        wanted = _leave(form.fields)
        refuse_name(services.store, wanted.user_id)
        made = services.store.leaves.add(wanted, form.identity.name)
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error, fields=form.fields)
    return _draw(request, services, form.identity, done=f"Added: {made.user_id}, {made.sentence}.", added=[made])


@router.post("/leaves/remove")
def remove(services: Given, form: ApproverForm) -> Response:
    removed = services.store.leaves.remove(id_of(form.fields), form.identity.name)
    leave_notice(form.identity, "Removed.", Undo("/leaves/restore", {"id": str(removed.id)}))
    return RedirectResponse("/leaves", 303)


@router.post("/leaves/restore")
def restore(request: Request, services: Given, form: ApproverForm) -> Response:
    """Undo the removal of the leave `id`."""
    try:
        services.store.leaves.restore(id_of(form.fields))
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error)
    leave_notice(form.identity, "The leave is there again.")
    return RedirectResponse("/leaves", 303)


@router.post("/leaves/import")
def import_file(request: Request, services: Given, form: ApproverUpload) -> Response:
    """Import a file as `zk-pipeline leave import` does."""
    try:
        file = form.chosen("a table (.csv, .xlsx) or a calendar (.ics)")
        options = ImportOptions(
            form.identity.name,
            services.settings.history_start,
            optional(form.fields, "import_user"),
            optional(form.fields, "import_site"),
        )
        done = import_leaves(services.store, file.name, file.content, options)
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error)
    return _draw(request, services, form.identity, done=import_summary(done), added=done.added)


def _leave(fields: Form) -> NewLeave:
    first = whole_date(fields, "first_date")
    if first is None:
        raise UsageError("first_date: a date is expected")
    return NewLeave(
        user_id=optional(fields, "new_user") or "",
        first_date=first,
        last_date=whole_date(fields, "last_date") or first,
        kind=optional(fields, "kind") or "",
        site=optional(fields, "new_site"),
        day_part=optional(fields, "day_part"),
        note=optional(fields, "note") or "",
    )


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    *,
    done: str | None = None,
    problem: Exception | None = None,
    fields: Form | None = None,
    added: list[Leave] | None = None,
) -> Response:
    found = listed_by_number(request, "/leaves", LeavesQuery, lambda asked: _page(services, asked))
    unknown = services.store.enrolled_users.unknown(one.user_id for one in added) if added else []
    return render(
        request,
        "leaves.html",
        identity,
        status=400 if problem else found.status,
        found=found,
        done=done,
        problem=problem,
        warning=unknown_user_warning(unknown),
        fields=fields or {},
        sites=services.store.devices.sites(),
        day_parts=DAY_PARTS,
        kinds=_KINDS,
    )


def _page(services: Services, asked: LeavesQuery) -> tuple[int, list[Leave]]:
    return services.store.leaves.page(asked.wanted(), limit=asked.size, offset=asked.offset)
