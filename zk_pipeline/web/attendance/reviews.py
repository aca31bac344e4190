"""Reviews of outliers, from their list and from the page of a day."""

from __future__ import annotations

import re

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.http.services import Given
from zk_pipeline.http.sessions import Undo
from zk_pipeline.store.queries.reviews import Marked, Review
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import ReviewerForm, safe_target

router = APIRouter(include_in_schema=False)
_MAX_NOTE_LENGTH = 500
_DAY = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)


@router.post("/outliers/review")
def review(services: Given, form: ReviewerForm) -> Response:
    """Mark days as reviewed. Fields `day-ID-REVISION` name them; with `all` the field `shown` (`ID-REVISION`, separated
    by spaces). Days that are marked so already stay as they are; with `undo` also those whose latest review is of
    another. Redirects to `back`. Raises UsageError, and HTTPException 409 for days that changed since then.
    """
    fields, back = form.fields, safe_target(form.fields.get("back"))
    if not fields.keys() - {"csrf_token", "back", "shown", "note"}:
        leave_notice(form.identity, "No day is selected: nothing is marked.")
        return RedirectResponse(back, 303)
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
    is_reviewed, by, is_undo = fields.get("again") is None, form.identity.name, "undo" in fields

    def applies(latest: Review | None) -> bool:
        differs = is_reviewed != (latest is not None and latest.is_reviewed)
        return differs and (not is_undo or (latest is not None and latest.reviewed_by == by))

    done = services.store.reviews.mark_if(days, applies, by=by, note=note, is_reviewed=is_reviewed)
    changed = len(days) - len(done.marked) - len(done.kept)
    if changed:
        raise HTTPException(409, f"{counted(changed, 'day')} changed since this page was shown: review again")
    leave_notice(form.identity, _text(done, is_reviewed=is_reviewed), _undo(done, back, is_reviewed=is_reviewed))
    return RedirectResponse(back, 303)


def _text(done: Marked, *, is_reviewed: bool) -> str:
    """Message about the marked days, and about those that stay as another person left them."""
    state = "reviewed" if is_reviewed else "to be reviewed again"
    marked = f"{counted(len(done.marked), 'day')} marked as {state}"
    last = {one.reviewed_by if one else None for one in done.kept.values()}
    names = ", ".join(sorted(name for name in last if name))
    if not done.kept:
        return f"{marked}."
    if any(one is not None and one.is_reviewed != is_reviewed for one in done.kept.values()):
        return f"{marked}; {len(done.kept):,} not undone: the latest review is by {names}."
    return f"{marked}; {len(done.kept):,} already {state}{f' by {names}' if names else ''}."


def _undo(done: Marked, back: str, *, is_reviewed: bool) -> Undo | None:
    """The form that marks the marked days as they were before; None without any."""
    if not done.marked:
        return None
    days = {f"day-{number}-{one.revision}": "yes" for number, one in done.marked.items()}
    return Undo("/outliers/review", days | {"back": back, "undo": "yes"} | ({"again": "yes"} if is_reviewed else {}))
