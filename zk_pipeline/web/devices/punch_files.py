"""Upload of a punch file for one terminal: first a check, then the import of the same file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.web.devices.pages import DeviceId
from zk_pipeline.web.rendering import Admin, Form, render
from zk_pipeline.web.uploads import AdminUpload, Upload

if TYPE_CHECKING:
    from zk_pipeline.operations.files.punch_import import ImportOptions

router = APIRouter(include_in_schema=False)
Value = TypeVar("Value", bound=str)
# Labels of the page by the options of the command, which messages name.
_LABELS = {
    "--format": "“Format”",
    "--order": "“Columns of a USB log after the time”",
    "--columns": "“Columns of another program's table”",
    "--time-format": "“Form of its times”",
    "--skip-unreadable": "“Import the other lines”",
}


@router.get("/devices/{device_id}/import")
def show(request: Request, services: Given, identity: Admin, device_id: DeviceId) -> Response:
    return _draw(request, services, identity, device_id, {})


@router.post("/devices/{device_id}/import")
def import_file(request: Request, services: Given, form: AdminUpload, device_id: DeviceId) -> Response:
    """Check a file; import it if the field `checked` has its digest and `check` is missing. All punches, or none."""
    from zk_pipeline.operations.files.punch_import import (  # noqa: PLC0415 (pandas, slow to import)
        apply_import,
        check_plan,
        plan_content,
    )

    fields = form.fields
    try:
        file = form.chosen("a log (attlog.dat), pushed lines, or a table (.csv, .xlsx, .parquet)")
        options = _options(fields, services.settings.history_start)
        device = services.store.devices.by_id(device_id)
        plan = plan_content(services.store, file.name, file.content, device.name, options)
        check_plan(plan, options)
        checked = fields.get("checked")
        if not checked or "check" in fields:
            return _draw(
                request, services, form.identity, device_id, fields, found=plan.summary, digest=_digest(file, fields)
            )
        if checked != _digest(file, fields):
            raise UsageError("this is not the file that was checked, or other columns: check it first")
        done = apply_import(services.store, plan)
    except UsageError as error:
        return _draw(request, services, form.identity, device_id, fields, problem=_by_labels(error))
    return _draw(request, services, form.identity, device_id, fields, found=done)


def _options(fields: Form, history_start: date) -> ImportOptions:
    from zk_pipeline.devices.usb_log import ORDERS  # noqa: PLC0415
    from zk_pipeline.operations.files.punch_columns import parse_columns  # noqa: PLC0415
    from zk_pipeline.operations.files.punch_import import PUNCH_FORMATS, ImportOptions  # noqa: PLC0415

    columns = fields.get("columns", "").strip()
    return ImportOptions(
        format=_one_of("format", fields, PUNCH_FORMATS),
        order=_one_of("order", fields, ORDERS),
        columns=parse_columns(columns) if columns else None,
        time_format=fields.get("time_format", "").strip() or None,
        skip_unreadable=fields.get("skip_unreadable") == "on",
        history_start=history_start,
    )


def _by_labels(error: UsageError) -> UsageError:
    """The error with the labels of the page in place of the command's options."""
    if isinstance(error, RowsRefused):
        error.head, error.rows = _labelled(error.head), [_labelled(row) for row in error.rows]
        return error
    return UsageError(_labelled(str(error)))


def _labelled(text: str) -> str:
    for option, label in _LABELS.items():
        text = text.replace(option, label)
    return text


def _one_of(name: str, fields: Form, values: Sequence[Value]) -> Value | None:
    """The value of a choice; None if it is empty. Raises UsageError."""
    text = fields.get(name, "")
    found = next((one for one in values if one == text), None)
    if text and found is None:
        raise UsageError(f"{name}: {text[:40]!r} is none of {', '.join(map(str, values))}")
    return found


def _digest(file: Upload, fields: Form) -> str:
    """Digest of a file and of how it is read."""
    how = [fields.get(name, "") for name in ("format", "order", "columns", "time_format", "skip_unreadable")]
    return sha256(repr((file.name, how)).encode() + file.content).hexdigest()


def _draw(
    request: Request, services: Services, identity: Identity, device_id: int, fields: Form, **values: Any
) -> Response:
    status = 400 if values.get("problem") else 200
    device = services.store.devices.by_id(device_id)
    kept = services.store.punch_files.columns_of(device.name)
    return render(
        request,
        "punch_file.html",
        identity,
        breadcrumbs=[("Devices", "/devices"), (device.name, f"/devices/{device.id}")],
        status=status,
        device=device,
        fields=fields,
        kept=kept,
        **values,
    )
