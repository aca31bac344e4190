"""Reviews of outliers, from their list and from the page of a day."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.http.services import Given
from zk_pipeline.http.sessions import Undo
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import OperatorForm, safe_target

router = APIRouter(include_in_schema=False)
_MAX_NOTE_LENGTH = 500
_DAY = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)


@router.post("/outliers/review")
def review(services: Given, form: OperatorForm) -> Response:
    """Mark days as reviewed. Fields `day-ID-REVISION` name them; with `all` the field `shown` (`ID-REVISION`, separated
    by spaces). Redirects to `back`. Raises UsageError, and HTTPException 409 for days that changed since then.
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
    if len(note) > _MAX_NOTE_LENGTH:
        raise UsageError(f"note: at most {_MAX_NOTE_LENGTH} characters")
    days = {int(part[1]): int(part[2]) for part in parts if part is not None}
    is_reviewed, back = fields.get("again") is None, safe_target(fields.get("back"))
    done = services.store.reviews.mark(days, by=form.identity.name, note=note, is_reviewed=is_reviewed)
    changed = len(days) - len(done)
    if changed:
        raise HTTPException(409, f"{counted(changed, 'day')} changed since this page was shown: review again")
    leave_notice(form.identity, *_notice(days, back, is_reviewed=is_reviewed))
    return RedirectResponse(back, 303)


def _notice(days: Mapping[int, int], back: str, *, is_reviewed: bool) -> tuple[str, Undo]:
    """Message about these days, and the form that marks them as they were before."""
    undo = {f"day-{number}-{revision}": "yes" for number, revision in days.items()} | {"back": back}
    text = f"{counted(len(days), 'day')} marked as {'reviewed' if is_reviewed else 'to be reviewed again'}."
    return text, Undo("/outliers/review", undo | ({"again": "yes"} if is_reviewed else {}))
