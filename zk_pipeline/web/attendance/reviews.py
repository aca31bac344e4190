"""Marking unusual days as looked at, on their list and on their own pages."""

from __future__ import annotations

import re

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.services import Given
from zk_pipeline.web.rendering import OperatorForm, safe_target

router = APIRouter(include_in_schema=False)
_LONGEST_NOTE = 500
_DAY = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)


@router.post("/outliers/review")
def review(services: Given, form: OperatorForm) -> Response:
    """Fields `day-ID-REVISION` name the days; with `all`, the field `shown` does (`ID-REVISION`, with spaces). Back to
    the page `back`. Raises UsageError, and HTTPException 409 for days that have changed since they were shown.
    """
    fields = form.fields
    if "all" in fields:
        chosen = fields.get("shown", "").split()
    else:
        chosen = [name.removeprefix("day-") for name in fields if name.startswith("day-")]
    parts = [_DAY.fullmatch(one) for one in chosen]
    if not parts or None in parts:
        raise UsageError("choose at least one day")
    note = fields.get("note", "").strip()
    if len(note) > _LONGEST_NOTE:
        raise UsageError(f"note: at most {_LONGEST_NOTE} characters")
    days = {int(part[1]): int(part[2]) for part in parts if part is not None}
    done = services.store.reviews.mark(days, by=form.identity.name, note=note, is_reviewed=fields.get("again") is None)
    changed = len(days) - len(done)
    if changed:
        raise HTTPException(409, f"{changed} of these days changed since they were shown: look at them again")
    return RedirectResponse(safe_target(fields.get("back")), 303)
