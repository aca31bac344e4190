"""Page of rotations, and of assignments from a file."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.attendance.assignment_changes import AssignmentChanges
from zk_pipeline.attendance.rotations import Rotation
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.files.assignment_file import assign_from_table
from zk_pipeline.web.attendance.fields import required_dates, target_of, whole_number
from zk_pipeline.web.rendering import Admin, AdminForm, Form, render
from zk_pipeline.web.uploads import AdminUpload

router = APIRouter(include_in_schema=False)


@router.get("/shifts/rotations")
def show(request: Request, services: Given, identity: Admin) -> Response:
    return _draw(request, services, identity, {})


@router.post("/shifts/rotations")
def rotate(request: Request, services: Given, form: AdminForm) -> Response:
    """Assign a rotation as `zk-pipeline shift rotate` does."""
    fields = form.fields

    def assign() -> AssignmentChanges:
        first, last = required_dates(fields)
        rotation = Rotation(
            pattern=fields.get("pattern", ""),
            target=target_of(fields),
            valid_from=first,
            valid_to=last,
            start_at=whole_number(fields, "start_at", default=1),
        )
        return services.store.shifts.assign_all(rotation.expand(), replace_overlaps="replace" in fields)

    return _change(request, services, form.identity, fields, assign)


@router.post("/shifts/import")
def import_file(request: Request, services: Given, form: AdminUpload) -> Response:
    """Assign the shifts of a file as `zk-pipeline shift assign-file` does."""

    def assign() -> AssignmentChanges:
        file = form.chosen("a table (.csv, .xlsx)")
        return assign_from_table(services.store, file.name, file.content, replace_overlaps="replace" in form.fields)

    return _change(request, services, form.identity, {}, assign)


def _change(
    request: Request, services: Services, identity: Identity, fields: Form, assign: Callable[[], AssignmentChanges]
) -> Response:
    try:
        changes = assign()
    except UsageError as error:
        return _draw(request, services, identity, fields, problem=error)
    counts = f"{len(changes.added)} added, {len(changes.removed)} removed, {len(changes.unchanged)} unchanged"
    done = f"Assignments: {counts}. The next processing run computes affected days again."
    return _draw(request, services, identity, {}, done=done)


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    fields: Form,
    *,
    done: str | None = None,
    problem: Exception | None = None,
) -> Response:
    devices = services.store.devices.all()
    return render(
        request,
        "rotations.html",
        identity,
        breadcrumbs=[("Shifts", "/shifts")],
        status=400 if problem else 200,
        done=done,
        problem=problem,
        fields=fields,
        shifts=services.store.shifts.all(),
        devices=[one.name for one in devices],
        sites=sorted({one.site for one in devices}),
    )
